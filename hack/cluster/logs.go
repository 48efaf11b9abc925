package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/nodeconfig"
)

// Log is the path of a log of the control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, or
// control-plane: the process that keeps them running and serves the registry.
func (c *Cluster) Log(program string) (string, error) {
	return findLog(filepath.Dir(c.paths.log("x")), program)
}

// Log is the path of a log of the node: kubelet, kube-proxy, containerd or crio.
func (n *Node) Log(program string) (string, error) {
	return findLog(n.LogDir(), program)
}

// runtimeLog is the name of the container runtime's log.
func runtimeLog(r Runtime) string { return nodeconfig.RuntimeName(string(r)) }

func findLog(dir, program string) (string, error) {
	path := filepath.Join(dir, program+".log")
	if _, err := os.Stat(path); err == nil && filepath.Base(program) == program {
		return path, nil
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	var known []string
	for _, f := range files {
		known = append(known, strings.TrimSuffix(filepath.Base(f), ".log"))
	}
	slices.Sort(known)
	return "", fmt.Errorf("there is no log of %q: choose one of %s", program, strings.Join(known, ", "))
}
