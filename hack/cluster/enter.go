package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
)

// makeEnter builds the program that runs commands in nodes. Go's build cache makes that short.
func (c *Cluster) makeEnter(ctx context.Context) error {
	root, err := checkout.Root()
	if err != nil {
		return err
	}
	program := c.paths.enter()
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return err
	}
	draft := program + ".new"
	if err := goBuild(ctx, filepath.Join(root, "hack", "cluster"), "./internal/enter", draft); err != nil {
		return fmt.Errorf("build the program that runs commands in nodes: %w", err)
	}
	return os.Rename(draft, program) // one that runs stays as it is
}

// goBuild builds a small static program from a package of the module in dir.
func goBuild(ctx context.Context, dir, pkg, to string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", to, pkg)
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
