package pki

import (
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig issues a client certificate and returns a kubeconfig that uses it against the server's URL.
func (a *Authority) Kubeconfig(cluster, server string, who Subject) ([]byte, error) {
	pair, err := a.Issue(who)
	if err != nil {
		return nil, err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[cluster] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: a.certPEM}
	config.AuthInfos[who.CommonName] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.Cert, ClientKeyData: pair.Key}
	config.Contexts[cluster] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: who.CommonName}
	config.CurrentContext = cluster
	return clientcmd.Write(*config)
}
