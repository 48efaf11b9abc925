package cluster

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/cgroup"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/network"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/nodeconfig"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/noderoot"
)

// startNode starts a node's init unless it runs. It begins with nothing but the node's disk: what a crash has left is
// removed first, as a kubelet that finds the control groups of containers gone by waits for them to answer.
func (c *Cluster) startNode(ctx context.Context, n nodeState) error {
	if c.process(nodeProcess(n.Name)).Running() {
		return nil
	}
	if err := c.stopNode(ctx, n); err != nil {
		return err
	}
	boot, err := c.nodeBoot(n)
	if err != nil {
		return fmt.Errorf("start node %s: %w", n.Name, err)
	}
	for _, dir := range []string{c.paths.nodeScratch(n.Name), c.paths.nodeLogs(n.Name)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := c.wireNode(n); err != nil {
		return err
	}
	d := detached{
		entrypoint: nodeEntrypoint,
		log:        c.nodeInitLog(n),
		record:     c.paths.process(nodeProcess(n.Name)),
		cloneFlags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		config:     boot,
	}
	if err := network.Within(c.state.namespace(n), d.start); err != nil {
		return fmt.Errorf("start node %s: %w", n.Name, err)
	}
	return nil
}

// wireNode makes what a node needs before its first process.
func (c *Cluster) wireNode(n nodeState) error {
	groups, err := cgroup.Detect()
	if err != nil {
		return err
	}
	if err := groups.Create(c.state.controlGroup(n.Name)); err != nil {
		return err
	}
	if err := network.Ensure(c.state.namespace(n)); err != nil {
		return err
	}
	return c.cable(n).Connect()
}

func (c *Cluster) cable(n nodeState) network.Cable {
	return network.Cable{
		ControlPlane: c.state.controlPlaneNamespace(),
		Node:         c.state.namespace(n),
		Link:         n.link(),
		Address:      n.address() + networkBits,
		Gateway:      controlPlaneAddress,
		Pods:         n.podCIDR(),
	}
}

// nodeBoot is what a node's init is told.
func (c *Cluster) nodeBoot(n nodeState) (nodeBoot, error) {
	config := nodeconfig.Node{
		Cluster:     c.state.Name,
		Name:        n.Name,
		Runtime:     string(n.Runtime),
		Snapshotter: string(n.Snapshotter),
		Address:     n.address(),
		PodCIDR:     n.podCIDR(),
		Registry:    registryAddress,
		PauseImage:  registryAddress + "/" + pauseImage,
		LimitedRoot: !hasCapability(capSysResource),
		Crun:        n.OCIRuntime == Crun,
	}
	if n.Kubelet == KubeletEnabled {
		kubelet, err := c.kubeletConfig(n)
		if err != nil {
			return nodeBoot{}, err
		}
		config.Kubelet = kubelet
	}
	binds, err := c.nodeBinds(n)
	if err != nil {
		return nodeBoot{}, err
	}
	return nodeBoot{
		Node:         config,
		ControlGroup: c.state.controlGroup(n.Name),
		Scratch:      c.paths.nodeScratch(n.Name),
		Disk:         c.paths.nodeDisk(n.Name),
		Binds:        binds,
	}, nil
}

func (c *Cluster) kubeletConfig(n nodeState) (*nodeconfig.Kubelet, error) {
	server := c.state.apiServerURL()
	kubelet, err := c.authority.Kubeconfig(prefix+c.state.Name, server, kubeletUser(n.Name))
	if err != nil {
		return nil, err
	}
	proxy, err := c.authority.Kubeconfig(prefix+c.state.Name, server, kubeProxyUser)
	if err != nil {
		return nil, err
	}
	return &nodeconfig.Kubelet{
		APIServer:           server,
		CACert:              c.authority.CertPEM(),
		Kubeconfig:          kubelet,
		KubeProxyKubeconfig: proxy,
	}, nil
}

// nodeBinds are the programs that a node is shown.
func (c *Cluster) nodeBinds(n nodeState) ([]noderoot.Bind, error) {
	// Not /proc/self/exe: that is a file of the machine's mount namespace, which cannot be bound in another one.
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("%w; this program was replaced while it ran: run it again", err)
	}
	binds := []noderoot.Bind{
		{Source: program, Target: nodeconfig.SelfDir + "/" + nodeInitEntrypoint},
		{Source: program, Target: nodeconfig.SelfDir + "/" + nodeconfig.OCIRuntimeName},
		{Source: program, Target: nodeconfig.SelfDir + "/" + nodeconfig.CrunName},
		{Source: c.programDirs.runtime[n.Runtime], Target: nodeconfig.RuntimeDir},
		{Source: c.programDirs.cni, Target: nodeconfig.CNIDir},
	}
	if c.programDirs.kubernetes != "" {
		binds = append(binds, noderoot.Bind{Source: c.programDirs.kubernetes, Target: nodeconfig.KubernetesDir})
	}
	if n.Runtime != Containerd16 { // that one comes with the runc of its time
		binds = append(binds, noderoot.Bind{Source: c.programDirs.runc, Target: nodeconfig.RuncDir})
	}
	return binds, nil
}

// stopNode kills a node and removes all of it but its disk.
func (c *Cluster) stopNode(ctx context.Context, n nodeState) error {
	record := c.paths.process(nodeProcess(n.Name))
	if err := c.process(nodeProcess(n.Name)).Kill(ctx); err != nil {
		return fmt.Errorf("stop node %s: %w", n.Name, err)
	}
	if err := c.cable(n).Disconnect(); err != nil {
		return err
	}
	if err := network.Remove(c.state.namespace(n)); err != nil {
		return err
	}
	groups, err := cgroup.Detect()
	if err != nil {
		return err
	}
	if err := groups.Remove(ctx, c.state.controlGroup(n.Name)); err != nil {
		return err
	}
	if err := os.Remove(record); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (c *Cluster) nodeInitLog(n nodeState) string { return c.paths.log(nodeProcess(n.Name)) }
