package cluster

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/cgroup"
)

// CannotRunNodes says in one sentence what this machine lacks to run nodes, with a remedy, or nothing. A cluster
// without nodes can always be brought up.
func CannotRunNodes() error {
	if os.Geteuid() != 0 {
		return errors.New("nodes need root: run this as root, or bring up a cluster without nodes")
	}
	for _, needed := range []struct {
		number uint
		name   string
	}{{capSysAdmin, "CAP_SYS_ADMIN"}, {capNetAdmin, "CAP_NET_ADMIN"}, {capMknod, "CAP_MKNOD"}} {
		if !hasCapability(needed.number) {
			return fmt.Errorf("nodes need %s, which root does not have here: run this outside the container, or bring up a cluster without nodes", needed.name)
		}
	}
	fileSystems, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	for _, needed := range []string{"overlay", "tmpfs", "mqueue"} {
		if !strings.Contains(string(fileSystems), "\t"+needed+"\n") {
			return fmt.Errorf("nodes need the kernel's %s file system, which is not loaded: run modprobe %s", needed, needed)
		}
	}
	_, err = cgroup.Detect()
	return err
}

// preflight looks for what a cluster, with nodes or without, needs before anything is made.
func preflight(nodes bool) error {
	if !initialized {
		return errNotInitialized
	}
	if !nodes {
		return nil
	}
	return CannotRunNodes()
}

// debianPackages are what nodes use of the machine.
func (s state) debianPackages() []string {
	var packages []string
	for _, n := range s.Nodes {
		if n.Kubelet == KubeletEnabled {
			packages = append(packages, "nftables", "iptables") // for kube-proxy, and for host ports
		}
		if n.Snapshotter == EROFS {
			packages = append(packages, "erofs-utils")
		}
		if n.OCIRuntime == Crun {
			packages = append(packages, "crun")
		}
		if n.Runtime == CRIO {
			packages = append(packages, "conmon")
		}
	}
	return packages
}
