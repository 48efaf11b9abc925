package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

func TestIssuedCertificateIsValidForItsNamesAndAddressesOnly(t *testing.T) {
	authority, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(Subject{CommonName: "server", DNSNames: []string{"kubernetes.default"}, IPs: []net.IP{net.IPv4(10, 89, 0, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	cert := parseCert(t, pair.Cert)
	for host, want := range map[string]bool{"kubernetes.default": true, "10.89.0.1": true, "localhost": false, "10.89.0.2": false} {
		if err := cert.VerifyHostname(host); (err == nil) != want {
			t.Errorf("%s: valid is %v, want %v", host, err == nil, want)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority.CertPEM())
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenFindsTheAuthorityItMade(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.CertPEM(), second.CertPEM()) {
		t.Error("a second authority was made")
	}
}

func TestKubeconfigCarriesUserAndGroups(t *testing.T) {
	authority, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	content, err := authority.Kubeconfig("c", "https://10.89.0.1:6443", Subject{CommonName: "system:node:n", Organizations: []string{"system:nodes"}})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(content)
	if err != nil {
		t.Fatal(err)
	}
	subject := parseCert(t, config.CertData).Subject
	if config.Host != "https://10.89.0.1:6443" || subject.CommonName != "system:node:n" || subject.Organization[0] != "system:nodes" {
		t.Errorf("got host %s, subject %v", config.Host, subject)
	}
}

func parseCert(t *testing.T, content []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(content)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
