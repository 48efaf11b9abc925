package nodeconfig

import (
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/supervise"
)

// LogDir is where the daemons of a node write their logs, as NAME.log.
const LogDir = "/var/log"

// Daemons are what a node's init keeps running.
func Daemons(n Node) []supervise.Daemon {
	runtime := daemon(RuntimeName(n.Runtime), RuntimeDir, runtimeFlags(n.Runtime)...)
	if n.Kubelet == nil {
		return []supervise.Daemon{runtime}
	}
	// Started earlier, the kubelet and kube-proxy would fail and wait longer and longer between attempts.
	ready := n.Kubelet.APIServer + "/readyz"
	kubelet := daemon("kubelet", KubernetesDir,
		"--config=/etc/kubernetes/kubelet.yaml",
		"--kubeconfig=/etc/kubernetes/kubelet.kubeconfig",
		"--hostname-override="+n.Name,
		"--node-ip="+n.Address,
		"--root-dir="+KubeletRoot,
		"--v=1",
	)
	kubelet.After = []string{"unix:" + n.Socket(), ready}
	proxy := daemon("kube-proxy", KubernetesDir, "--config=/etc/kubernetes/kube-proxy.yaml")
	proxy.After = []string{ready}
	return []supervise.Daemon{runtime, kubelet, proxy}
}

// RuntimeName is the runtime's program, and the name of its log.
func RuntimeName(runtime string) string {
	if runtime == CRIO {
		return "crio"
	}
	return "containerd"
}

func runtimeFlags(runtime string) []string {
	if runtime == CRIO {
		// The machine's own drop-in configuration, if it has any, is not the node's.
		return []string{"--config=/etc/crio/crio.conf", "--config-dir="}
	}
	return []string{"--config=/etc/containerd/config.toml"}
}

func daemon(name, dir string, flags ...string) supervise.Daemon {
	return supervise.Daemon{
		Name:    name,
		Command: append([]string{dir + "/" + name}, flags...),
		Env:     []string{"PATH=" + Path, "HOME=/root"},
		Log:     LogDir + "/" + name + ".log",
	}
}
