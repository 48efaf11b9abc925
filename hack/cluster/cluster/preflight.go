package cluster

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// preflight says in one sentence what this machine lacks for the cluster. Without nodes it lacks nothing.
func (s state) preflight() error {
	if !initialized {
		return errors.New("cluster.Init was not called: call it first in main or TestMain")
	}
	if s.Loopback {
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("nodes need root: run this as root, or bring up a cluster without nodes")
	}
	for number, name := range map[uint]string{capSysAdmin: "CAP_SYS_ADMIN", capNetAdmin: "CAP_NET_ADMIN"} {
		if !hasCapability(number) {
			return fmt.Errorf("nodes need %s, which root does not have here: run this outside the container, or bring up a cluster without nodes", name)
		}
	}
	fileSystems, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	for _, needed := range []string{"overlay", "tmpfs"} {
		if !strings.Contains(string(fileSystems), "\t"+needed+"\n") {
			return fmt.Errorf("nodes need the kernel's %s file system, which is not loaded: run modprobe %s", needed, needed)
		}
	}
	return nil
}

// debianPackages are what nodes use of the machine.
func (s state) debianPackages() []string {
	var packages []string
	for _, n := range s.Nodes {
		if n.Kubelet == KubeletEnabled {
			packages = append(packages, "nftables", "iptables") // for kube-proxy, and for host ports
		}
		if n.Runtime == CRIO {
			packages = append(packages, "conmon")
		}
	}
	return packages
}
