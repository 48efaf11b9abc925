package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/hack/cluster/cluster/internal/nodeconfig"
)

// Log is the path of a log of the control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler or hub.
func (c *Cluster) Log(component string) (string, error) {
	return findLog(filepath.Dir(c.paths.log("x")), component)
}

// Log is the path of a log of the node: kubelet, kube-proxy, containerd or crio.
func (n *Node) Log(component string) (string, error) {
	return findLog(n.LogDir(), component)
}

// runtimeLog is the name of the container runtime's log.
func runtimeLog(r Runtime) string { return nodeconfig.RuntimeName(string(r)) }

func findLog(dir, component string) (string, error) {
	path := filepath.Join(dir, component+".log")
	if _, err := os.Stat(path); err == nil && filepath.Base(component) == component {
		return path, nil
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	var known []string
	for _, f := range files {
		known = append(known, strings.TrimSuffix(filepath.Base(f), ".log"))
	}
	slices.Sort(known)
	return "", fmt.Errorf("there is no log of %q: choose one of %s", component, strings.Join(known, ", "))
}
