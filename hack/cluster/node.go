package cluster

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/nodeconfig"
)

// Node is one node of a cluster, running or not.
type Node struct {
	cluster *Cluster
	state   nodeState
}

// ErrNodeStopped is returned for a node that does not run.
var ErrNodeStopped = errors.New("the node is stopped")

// Name is the node's name, also in Kubernetes.
func (n *Node) Name() string { return n.state.Name }

// Runtime is the node's container runtime.
func (n *Node) Runtime() Runtime { return n.state.Runtime }

// Address is the node's own address in the cluster's network.
func (n *Node) Address() string { return n.state.address() }

// Snapshotter is how the node keeps the layers of images; empty for a runtime without that choice.
func (n *Node) Snapshotter() Snapshotter { return n.state.Snapshotter }

// RuntimeSocket is where the container runtime listens, in the node's own view.
func (n *Node) RuntimeSocket() string { return nodeconfig.Socket(string(n.state.Runtime)) }

// KubeletRoot is the kubelet's directory, in the node's own view.
func (n *Node) KubeletRoot() string { return nodeconfig.KubeletRoot }

// PID is the node's init as this machine counts processes, or 0 if the node is stopped. It changes with each start.
func (n *Node) PID() int {
	identity := n.cluster.process(nodeProcess(n.state.Name))
	if !identity.Running() {
		return 0
	}
	return identity.PID
}

// Running reports whether the node runs.
func (n *Node) Running() bool { return n.PID() != 0 }

// Root is where this machine sees the node's root directory while the node runs: Root()+"/run/x.sock" can be dialled.
// It is a link into the node's mount namespace, so it also shows what is mounted there.
func (n *Node) Root() string { return filepath.Join("/proc", strconv.Itoa(n.PID()), "root") }

// LogDir is the directory of the node's logs, on this machine. It is there while the node is stopped, too.
func (n *Node) LogDir() string { return n.cluster.paths.nodeLogs(n.state.Name) }

// Command is a command to run in all of the node's namespaces, as root, in its root directory. It fails to start with
// ErrNodeStopped if the node is stopped, and is killed when the node is. When the context ends it gets SIGTERM, and
// SIGKILL two seconds later.
func (n *Node) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	pid := n.PID()
	cmd := exec.CommandContext(ctx, n.cluster.paths.enter(), append([]string{
		strconv.Itoa(pid), n.cluster.state.controlGroup(n.state.Name), name,
	}, args...)...)
	cmd.Env = []string{"PATH=" + nodeconfig.Path, "HOME=/root"}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // which it passes on; a kill it could not
	cmd.WaitDelay = 4 * time.Second                                          // twice what it gives the command
	if pid == 0 {
		cmd.Err = fmt.Errorf("run %s in node %s: %w", name, n.state.Name, ErrNodeStopped)
	}
	return cmd
}

// Stop cuts the node's power: every process in it is killed at once, and what was not on its disk is gone. The images
// and the kubelet's directory are on the disk and stay.
func (n *Node) Stop(ctx context.Context) error {
	unlock, err := lock(n.cluster.paths)
	if err != nil {
		return err
	}
	defer unlock()
	return n.cluster.stopNode(ctx, n.state)
}

// Start starts a stopped node, and returns when it is Ready (if it has a kubelet) or its runtime answers (if not).
func (n *Node) Start(ctx context.Context) error {
	unlock, err := lock(n.cluster.paths)
	if err != nil {
		return err
	}
	defer unlock()
	return n.start(ctx)
}

// Reboot is Stop and Start.
func (n *Node) Reboot(ctx context.Context) error {
	unlock, err := lock(n.cluster.paths)
	if err != nil {
		return err
	}
	defer unlock()
	if err := n.cluster.stopNode(ctx, n.state); err != nil {
		return err
	}
	return n.start(ctx)
}

func (n *Node) start(ctx context.Context) error {
	c := n.cluster
	if !c.Running() {
		return fmt.Errorf("start node %s: cluster %s is not running: bring it up first", n.state.Name, c.state.Name)
	}
	var err error
	if c.programDirs, err = c.state.preparePrograms(ctx, progressWriter{c.progress}); err != nil {
		return err
	}
	if err := c.openAuthority(); err != nil {
		return err
	}
	if err := c.startNode(ctx, n.state); err != nil {
		return err
	}
	return c.waitForNode(ctx, n.state)
}
