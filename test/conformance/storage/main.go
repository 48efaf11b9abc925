// Command storage runs Kubernetes' suite for storage drivers against the driver in the demo's cluster, on each kind of
// node, and lists what passed, what failed, and what was skipped for which reason.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/programs"
)

func main() {
	cluster.Init()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// nodeClasses are those of the demo's nodes.
func nodeClasses() []string { return []string{"containerd", "crio"} }

func run(ctx context.Context) error {
	if missing := cluster.CannotRunNodes(); missing != nil {
		return missing
	}
	c, err := cluster.Open(cluster.DefaultName)
	if err != nil {
		return err
	}
	s, err := open(ctx, c)
	if err != nil {
		return err
	}
	if err := s.pushImages(ctx); err != nil {
		return err
	}
	var failed error
	for _, class := range nodeClasses() {
		report, err := s.test(ctx, class)
		if err != nil {
			return err
		}
		fmt.Printf("\nKubernetes' suite for storage drivers on %s nodes:\n\n", class)
		if err := report.show(os.Stdout); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s nodes: %w; the suite's log is %s", class, err, s.log(class)))
		}
	}
	return failed
}

// open builds the suite, unless it is in the cache.
func open(ctx context.Context, c *cluster.Cluster) (*suite, error) {
	built := programs.StorageSuite()
	if err := programs.Ensure(ctx, os.Stdout, nil, built); err != nil {
		return nil, err
	}
	binaries, err := built.Dir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.StateDir(), "conformance")
	return &suite{cluster: c, program: filepath.Join(binaries, "e2e.test"), dir: dir}, os.MkdirAll(dir, 0o755)
}
