package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/pki"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/supervise"
)

// Names of the control plane's daemons, and of their logs.
const (
	etcd              = "etcd"
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
)

// Users of the API that certificates are made for.
var (
	adminUser             = pki.Subject{CommonName: "admin", Organizations: []string{"system:masters"}}
	kubeletClientUser     = pki.Subject{CommonName: "kube-apiserver-kubelet-client", Organizations: []string{"system:masters"}}
	controllerManagerUser = pki.Subject{CommonName: "system:kube-controller-manager"}
	schedulerUser         = pki.Subject{CommonName: "system:kube-scheduler"}
	kubeProxyUser         = pki.Subject{CommonName: "system:kube-proxy"}
)

func kubeletUser(node string) pki.Subject {
	return pki.Subject{CommonName: "system:node:" + node, Organizations: []string{"system:nodes"}}
}

// certify makes every key, certificate and kubeconfig that the control plane and its admin use. Certificates are made
// anew each time, so that those of an old state directory never expire; the authority stays.
func (c *Cluster) certify() error {
	dir := c.paths.pki()
	authority, err := pki.Open(dir)
	if err != nil {
		return fmt.Errorf("open the cluster's certificate authority: %w", err)
	}
	c.authority = authority
	if err := pki.EnsureSigningKey(dir, "service-account"); err != nil {
		return err
	}
	server := pki.Subject{CommonName: apiServer, DNSNames: apiServerNames(), IPs: apiServerIPs()}
	for name, subject := range map[string]pki.Subject{apiServer: server, "kubelet-client": kubeletClientUser} {
		pair, err := authority.Issue(subject)
		if err != nil {
			return err
		}
		if err := pair.Save(dir, name); err != nil {
			return err
		}
	}
	inside := c.state.apiServerURL()
	for path, user := range map[string]pki.Subject{
		c.daemonKubeconfig(controllerManager): controllerManagerUser,
		c.daemonKubeconfig(scheduler):         schedulerUser,
	} {
		if err := c.writeKubeconfig(path, inside, user); err != nil {
			return err
		}
	}
	return c.writeKubeconfig(c.paths.kubeconfig(), c.state.hostAPIServerURL(), adminUser)
}

func (c *Cluster) daemonKubeconfig(name string) string {
	return filepath.Join(c.paths.pki(), name+".kubeconfig")
}

func (c *Cluster) writeKubeconfig(path, server string, user pki.Subject) error {
	content, err := c.authority.Kubeconfig(prefix+c.state.Name, server, user)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// controlPlaneDaemons are what the control plane's process keeps running.
func (c *Cluster) controlPlaneDaemons() []supervise.Daemon {
	if c.state.ControlPlane == ControlPlaneNone {
		return nil
	}
	ready := c.state.apiServerURL() + "/readyz"
	return []supervise.Daemon{
		c.daemon(etcd, c.etcdFlags()),
		c.daemon(apiServer, c.apiServerFlags()),
		c.daemon(controllerManager, c.controllerManagerFlags(), ready),
		c.daemon(scheduler, schedulerFlags(c.daemonKubeconfig(scheduler)), ready),
	}
}

func (c *Cluster) daemon(name string, flags []string, after ...string) supervise.Daemon {
	return supervise.Daemon{
		Name:    name,
		Command: append([]string{filepath.Join(c.programDirs.kubernetes, name)}, flags...),
		Log:     c.paths.log(name),
		Record:  c.paths.process(name),
		After:   after,
	}
}

func (s state) etcdURLs() (client, peer string) {
	client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	if s.Loopback {
		client = fmt.Sprintf("http://127.0.0.1:%d", s.Ports.Etcd)
		peer = fmt.Sprintf("http://127.0.0.1:%d", s.Ports.EtcdPeer)
	}
	return client, peer
}

func (c *Cluster) etcdFlags() []string {
	client, peer := c.state.etcdURLs()
	return []string{
		"--name=cp",
		"--data-dir=" + c.paths.etcd(),
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=cp=" + peer,
		// A test cluster need not survive the loss of the machine's power, only of its own processes.
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

func (c *Cluster) apiServerFlags() []string {
	client, _ := c.state.etcdURLs()
	pki := func(file string) string { return filepath.Join(c.paths.pki(), file) }
	flags := []string{
		"--etcd-servers=" + client,
		"--service-cluster-ip-range=" + serviceCIDR,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + pki("service-account.pub"),
		"--service-account-signing-key-file=" + pki("service-account.key"),
		"--tls-cert-file=" + pki(apiServer+".crt"),
		"--tls-private-key-file=" + pki(apiServer+".key"),
		"--client-ca-file=" + pki("ca.crt"),
		"--kubelet-client-certificate=" + pki("kubelet-client.crt"),
		"--kubelet-client-key=" + pki("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--profiling=false",
	}
	if c.state.Loopback {
		// Nothing in the cluster looks for the API server, and its address would be refused as an endpoint.
		return append(flags, "--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(c.state.Ports.APIServer),
			"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none")
	}
	// There is no kube-proxy beside the API server: it reaches webhooks at their pods, not through their services.
	return append(flags, "--bind-address=0.0.0.0", "--secure-port="+strconv.Itoa(apiServerPort),
		"--advertise-address="+controlPlaneAddress, "--enable-aggregator-routing=true")
}

func (c *Cluster) controllerManagerFlags() []string {
	pki := func(file string) string { return filepath.Join(c.paths.pki(), file) }
	return []string{
		"--kubeconfig=" + c.daemonKubeconfig(controllerManager),
		"--leader-elect=false",
		"--secure-port=0",
		"--root-ca-file=" + pki("ca.crt"),
		"--cluster-signing-cert-file=" + pki("ca.crt"),
		"--cluster-signing-key-file=" + pki("ca.key"),
		"--service-account-private-key-file=" + pki("service-account.key"),
		"--use-service-account-credentials=true",
	}
}

func schedulerFlags(kubeconfig string) []string {
	return []string{"--kubeconfig=" + kubeconfig, "--leader-elect=false", "--secure-port=0"}
}
