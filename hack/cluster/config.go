package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/nodeconfig"
)

// Defaults of a Config.
const (
	DefaultName       = "demo"
	DefaultKubernetes = "1.37"
	DefaultPatience   = 2 * time.Minute
)

// Runtime is a node's container runtime.
type Runtime string

// The runtimes a node can have.
const (
	Containerd   Runtime = nodeconfig.Containerd   // containerd 2
	Containerd16 Runtime = nodeconfig.Containerd16 // Debian's containerd 1.6
	CRIO         Runtime = nodeconfig.CRIO
)

// Runtimes lists all of them.
var Runtimes = []Runtime{Containerd, Containerd16, CRIO}

// Snapshotter is how a Containerd node keeps the layers of images.
type Snapshotter string

// The snapshotters a Containerd node can have.
const (
	Overlayfs Snapshotter = "overlayfs" // a directory for each layer; the default
	Native    Snapshotter = "native"    // a full copy of the tree for each layer
	EROFS     Snapshotter = "erofs"     // an EROFS image for each layer
)

// OCIRuntime is what a node's container runtime starts containers with.
type OCIRuntime string

// The OCI runtimes a node can have.
const (
	Runc OCIRuntime = "runc" // the default
	Crun OCIRuntime = "crun" // Debian's; bookworm's 1.8 maps no users of volumes
)

// ControlPlane is whether a cluster has one.
type ControlPlane string

// The kinds of control plane.
const (
	ControlPlaneFull ControlPlane = "Full" // the default
	ControlPlaneNone ControlPlane = "None" // nodes run their container runtime only, next to the registry
)

// Kubelet is whether a node has one.
type Kubelet string

// The kinds of node.
const (
	KubeletEnabled  Kubelet = "Enabled"  // the default, where there is a control plane
	KubeletDisabled Kubelet = "Disabled" // the node runs its container runtime only
)

// Config is what a cluster is made of. Its zero value is a control plane called demo, without nodes.
type Config struct {
	// Name identifies the cluster; several can run side by side. The default is "demo".
	Name string
	// StateDir keeps everything the cluster writes. The default is in the user's cache directory, where Open looks.
	StateDir string
	// Kubernetes is the release, "1.37" (default) or "1.36".
	Kubernetes string
	// ControlPlane is ControlPlaneFull by default.
	ControlPlane ControlPlane
	// Nodes may be none: then the control plane runs on 127.0.0.1, and that needs no root.
	Nodes []NodeConfig
	// Patience is how long each part of the cluster may take to get ready, now and whenever a node is started later. The
	// default is DefaultPatience; an emulated machine needs more.
	Patience time.Duration
	// Progress, if set, is told each step as it begins, in one line.
	Progress func(step string)
}

// NodeConfig describes a node.
type NodeConfig struct {
	Name    string
	Runtime Runtime // the default is Containerd
	Kubelet Kubelet

	// Snapshotter is for Containerd nodes only. The default is Overlayfs.
	Snapshotter Snapshotter

	// OCIRuntime is for all but Containerd16 nodes, which have the runc of their time. The default is Runc.
	OCIRuntime OCIRuntime
}

// maxNodes keeps node addresses and pod networks within one byte.
const maxNodes = 200

// nameFormat is a DNS label, short enough to leave room for a prefix.
var nameFormat = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)

// complete checks the configuration and fills in the defaults.
func (c Config) complete() (Config, error) {
	setDefault(&c.Name, DefaultName)
	setDefault(&c.Kubernetes, DefaultKubernetes)
	setDefault(&c.ControlPlane, ControlPlaneFull)
	setDefault(&c.Patience, DefaultPatience)
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if !nameFormat.MatchString(c.Name) {
		return c, fmt.Errorf("cluster name %q is not usable: use up to 40 lower-case letters, digits and dashes", c.Name)
	}
	if c.ControlPlane != ControlPlaneFull && c.ControlPlane != ControlPlaneNone {
		return c, fmt.Errorf("control plane %q is unknown: use %q or %q", c.ControlPlane, ControlPlaneFull, ControlPlaneNone)
	}
	if c.StateDir == "" {
		dir, err := defaultStateDir(c.Name)
		if err != nil {
			return c, err
		}
		c.StateDir = dir
	}
	var err error
	c.StateDir, err = filepath.Abs(c.StateDir)
	if err != nil {
		return c, err
	}
	if len(c.Nodes) > maxNodes {
		return c, fmt.Errorf("%d nodes are too many: a cluster takes %d", len(c.Nodes), maxNodes)
	}
	c.Nodes = slices.Clone(c.Nodes)
	names := map[string]bool{}
	for i := range c.Nodes {
		node := &c.Nodes[i]
		if err := node.complete(c.ControlPlane); err != nil {
			return c, err
		}
		if names[node.Name] {
			return c, fmt.Errorf("two nodes are called %q: give each its own name", node.Name)
		}
		names[node.Name] = true
	}
	return c, nil
}

func (n *NodeConfig) complete(controlPlane ControlPlane) error {
	setDefault(&n.Runtime, Containerd)
	if controlPlane == ControlPlaneNone {
		setDefault(&n.Kubelet, KubeletDisabled)
	}
	setDefault(&n.Kubelet, KubeletEnabled)
	if n.Runtime == Containerd {
		setDefault(&n.Snapshotter, Overlayfs)
	}
	setDefault(&n.OCIRuntime, Runc)
	switch {
	case !nameFormat.MatchString(n.Name) || n.Name == controlPlaneMember:
		return fmt.Errorf("node name %q is not usable: use up to 40 lower-case letters, digits and dashes, and not %q", n.Name, controlPlaneMember)
	case !slices.Contains(Runtimes, n.Runtime):
		return fmt.Errorf("node %s: container runtime %q is unknown: use one of %q", n.Name, n.Runtime, Runtimes)
	case n.Runtime == Containerd && n.Snapshotter != Overlayfs && n.Snapshotter != Native && n.Snapshotter != EROFS:
		return fmt.Errorf("node %s: snapshotter %q is unknown: use %q, %q or %q", n.Name, n.Snapshotter, Overlayfs, Native, EROFS)
	case n.Runtime != Containerd && n.Snapshotter != "":
		return fmt.Errorf("node %s: only a node of %q has a choice of snapshotters", n.Name, Containerd)
	case n.OCIRuntime != Runc && n.OCIRuntime != Crun:
		return fmt.Errorf("node %s: OCI runtime %q is unknown: use %q or %q", n.Name, n.OCIRuntime, Runc, Crun)
	case n.Runtime == Containerd16 && n.OCIRuntime != Runc:
		return fmt.Errorf("node %s: a node of %q has the %s of its time and no other OCI runtime", n.Name, Containerd16, Runc)
	case n.Kubelet != KubeletEnabled && n.Kubelet != KubeletDisabled:
		return fmt.Errorf("node %s: kubelet %q is unknown: use %q or %q", n.Name, n.Kubelet, KubeletEnabled, KubeletDisabled)
	case n.Kubelet == KubeletEnabled && controlPlane == ControlPlaneNone:
		return fmt.Errorf("node %s: a kubelet needs a control plane: use ControlPlaneFull, or KubeletDisabled", n.Name)
	}
	return nil
}

func defaultStateDir(name string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a directory for the cluster's state: %w; set HOME or XDG_CACHE_HOME", err)
	}
	return filepath.Join(cache, "image-csi-operator", "clusters", name), nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
