package nodeconfig

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"strings"
	"text/template"
)

// Container runtimes, by the names that clusters are configured with.
const (
	Containerd   = "containerd"
	Containerd16 = "containerd-1.6"
	CRIO         = "crio"
)

// Where a node finds its programs.
const (
	KubernetesDir = "/opt/imagecsi/kubernetes"
	RuntimeDir    = "/opt/imagecsi/runtime"
	RuncDir       = "/opt/imagecsi/runc"
	CNIDir        = "/opt/cni/bin"
	// SelfDir holds links to the program that also is the node's init, under the names that choose what it does.
	SelfDir = "/opt/imagecsi/bin"
	// Path is PATH inside a node.
	Path = KubernetesDir + ":" + RuntimeDir + ":" + RuncDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// KubeletRoot is the kubelet's directory in a node.
const KubeletRoot = "/var/lib/kubelet"

// OCIRuntimeName is the name by which this program stands between CRI-O and runc.
const OCIRuntimeName = "imagecsi-oci-runtime"

// CrunName is the name by which this program stands between a container runtime and crun.
const CrunName = "imagecsi-crun"

// Node is what a node's configuration depends on.
type Node struct {
	Cluster string `json:"cluster"`
	Name    string `json:"name"`
	Runtime string `json:"runtime"`
	Address string `json:"address"`
	PodCIDR string `json:"podCIDR"`

	// Snapshotter is containerd's; empty for a runtime without that choice.
	Snapshotter string `json:"snapshotter,omitempty"`

	Registry   string `json:"registry"`
	PauseImage string `json:"pauseImage"`

	// LimitedRoot reports whether root lacks CAP_SYS_RESOURCE here.
	LimitedRoot bool `json:"limitedRoot"`
	// Crun reports whether containers are started with crun and not with runc.
	Crun bool `json:"crun,omitempty"`

	// Kubelet is nil on a node that runs its container runtime only.
	Kubelet *Kubelet `json:"kubelet,omitempty"`
}

// Kubelet is what joins a node to the control plane.
type Kubelet struct {
	APIServer           string `json:"apiServer"`
	CACert              []byte `json:"caCert"`
	Kubeconfig          []byte `json:"kubeconfig"`
	KubeProxyKubeconfig []byte `json:"kubeProxyKubeconfig"`
}

// Socket is where the container runtime listens.
func Socket(runtime string) string {
	if runtime == CRIO {
		return "/run/crio/crio.sock"
	}
	return "/run/containerd/containerd.sock"
}

// Socket is where the node's container runtime listens; templates use it.
func (n Node) Socket() string { return Socket(n.Runtime) }

// Domains are the top-level domains whose registries a CRI-O node finds in the cluster's registry. It has no wildcard
// for all of them, as containerd has.
func (n Node) Domains() []string {
	return []string{"com", "dev", "example", "io", "net", "org", "tech", "test"}
}

// RuntimeDir is where the runtime's programs are; templates use it.
func (n Node) RuntimeDir() string { return RuntimeDir }

// OCIRuntime is what CRI-O runs containers with, and containerd if it is crun.
func (n Node) OCIRuntime() string {
	switch {
	case n.Crun:
		return SelfDir + "/" + CrunName
	case n.LimitedRoot:
		return SelfDir + "/" + OCIRuntimeName
	}
	return RuncDir + "/runc"
}

//go:embed files
var files embed.FS

var templates = template.Must(template.New("").Option("missingkey=error").ParseFS(files, "files/*"))

// Files are the node's configuration files by path.
func Files(n Node) (map[string]string, error) {
	all := map[string]string{
		"/etc/hostname":    n.Name + "\n",
		"/etc/hosts":       fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", n.Address, n.Name),
		"/etc/resolv.conf": "",
		"/etc/machine-id":  machineID(n) + "\n",
	}
	rendered := map[string]string{"/etc/cni/net.d/10-imagecsi.conflist": "cni.conflist"}
	switch n.Runtime {
	case Containerd:
		rendered["/etc/containerd/config.toml"] = "containerd.toml"
		rendered["/etc/containerd/certs.d/_default/hosts.toml"] = "hosts.toml"
	case Containerd16:
		rendered["/etc/containerd/config.toml"] = "containerd-1.6.toml"
		rendered["/etc/containerd/certs.d/_default/hosts.toml"] = "hosts.toml"
	case CRIO:
		rendered["/etc/crio/crio.conf"] = "crio.conf"
		rendered["/etc/containers/registries.conf"] = "registries.conf"
		all["/etc/containers/policy.json"] = `{"default": [{"type": "insecureAcceptAnything"}]}` + "\n"
	default:
		return nil, fmt.Errorf("unknown container runtime %q", n.Runtime)
	}
	if n.Kubelet != nil {
		rendered["/etc/kubernetes/kubelet.yaml"] = "kubelet.yaml"
		rendered["/etc/kubernetes/kube-proxy.yaml"] = "kube-proxy.yaml"
		all["/etc/kubernetes/ca.crt"] = string(n.Kubelet.CACert)
		all["/etc/kubernetes/kubelet.kubeconfig"] = string(n.Kubelet.Kubeconfig)
		all["/etc/kubernetes/kube-proxy.kubeconfig"] = string(n.Kubelet.KubeProxyKubeconfig)
	}
	for path, name := range rendered {
		var text strings.Builder
		if err := templates.ExecuteTemplate(&text, name, n); err != nil {
			return nil, fmt.Errorf("render %s: %w", path, err)
		}
		all[path] = text.String()
	}
	return all, nil
}

// machineID is the same at each start of a node and differs between nodes.
func machineID(n Node) string {
	sum := sha256.Sum256([]byte(n.Cluster + "/" + n.Name))
	return hex.EncodeToString(sum[:16])
}
