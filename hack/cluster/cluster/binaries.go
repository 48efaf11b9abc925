package cluster

import (
	"context"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/hack/cluster/component"
)

// binaries are directories of programs.
type binaries struct {
	kubernetes string // empty without a control plane
	runc, cni  string
	runtime    map[Runtime]string
}

// prepareBinaries finds the programs that the cluster runs, and builds or installs those that are missing.
func (c *Cluster) prepareBinaries(ctx context.Context) error {
	c.binaries = binaries{runtime: map[Runtime]string{}}
	progress := progressWriter{c.progress}
	var missing []component.Component
	use := func(dir *string, one component.Component) error {
		missing = append(missing, one)
		var err error
		*dir, err = one.Dir()
		return err
	}
	if c.state.ControlPlane == ControlPlaneFull {
		kubernetes, err := component.Kubernetes(c.state.Kubernetes)
		if err != nil {
			return err
		}
		if err := use(&c.binaries.kubernetes, kubernetes); err != nil {
			return err
		}
	}
	if !c.state.Loopback {
		if err := use(&c.binaries.runc, component.Runc()); err != nil {
			return err
		}
		if err := use(&c.binaries.cni, component.CNI()); err != nil {
			return err
		}
	}
	for _, n := range c.state.Nodes {
		if _, done := c.binaries.runtime[n.Runtime]; done {
			continue
		}
		var dir string
		if err := use(&dir, runtimeComponent(n.Runtime)); err != nil {
			return err
		}
		c.binaries.runtime[n.Runtime] = dir
	}
	if err := component.Ensure(ctx, progress, missing...); err != nil {
		return err
	}
	packages := c.state.debianPackages()
	slices.Sort(packages)
	return component.Packages(ctx, progress, slices.Compact(packages)...)
}

func runtimeComponent(r Runtime) component.Component {
	switch r {
	case CRIO:
		return component.CRIO()
	case Containerd16:
		return component.Containerd16()
	default:
		return component.Containerd()
	}
}

// progressWriter turns lines into steps.
type progressWriter struct{ step func(string) }

func (w progressWriter) Write(data []byte) (int, error) {
	for line := range strings.Lines(string(data)) {
		if text := strings.TrimSpace(line); text != "" {
			w.step(text)
		}
	}
	return len(data), nil
}
