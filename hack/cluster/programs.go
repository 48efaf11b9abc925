package cluster

import (
	"context"
	"io"
	"strings"

	"github.com/image-csi/image-csi-operator/hack/cluster/programs"
)

// programDirs are the directories of the programs that a cluster runs.
type programDirs struct {
	kubernetes string // empty without a control plane
	runc, cni  string
	runtime    map[Runtime]string
}

// Prepare builds the programs that a cluster of this configuration runs, shows the progress on w, and installs the Debian
// packages that its nodes use, and further ones that the caller wants. Up does what is missing of that; a caller that prepares can do
// other work beside Up, with the machine free of the build.
func Prepare(ctx context.Context, w io.Writer, config Config, packages ...string) error {
	config, err := config.complete()
	if err != nil {
		return err
	}
	var s state
	if err := s.merge(config); err != nil {
		return err
	}
	_, err = s.preparePrograms(ctx, w, packages...)
	return err
}

// preparePrograms finds the programs that the cluster runs, and builds or installs those that are missing.
func (s state) preparePrograms(ctx context.Context, w io.Writer, packages ...string) (programDirs, error) {
	dirs := programDirs{runtime: map[Runtime]string{}}
	var sets []programs.Set
	use := func(dir *string, set programs.Set) (err error) {
		sets = append(sets, set)
		*dir, err = set.Dir()
		return err
	}
	if s.ControlPlane == ControlPlaneFull {
		kubernetes, err := programs.Kubernetes(s.Kubernetes)
		if err != nil {
			return dirs, err
		}
		if err := use(&dirs.kubernetes, kubernetes); err != nil {
			return dirs, err
		}
	}
	if !s.Loopback {
		if err := use(&dirs.runc, programs.Runc()); err != nil {
			return dirs, err
		}
		if err := use(&dirs.cni, programs.CNI()); err != nil {
			return dirs, err
		}
	}
	for _, n := range s.Nodes {
		if _, done := dirs.runtime[n.Runtime]; done {
			continue
		}
		var dir string
		if err := use(&dir, runtimePrograms(n.Runtime)); err != nil {
			return dirs, err
		}
		dirs.runtime[n.Runtime] = dir
	}
	return dirs, programs.Ensure(ctx, w, append(s.debianPackages(), packages...), sets...)
}

func runtimePrograms(r Runtime) programs.Set {
	switch r {
	case CRIO:
		return programs.CRIO()
	case Containerd16:
		return programs.Containerd16()
	default:
		return programs.Containerd()
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
