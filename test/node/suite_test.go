package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster/cluster"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

var suite = nodes.Suite{
	Name:    "node-tests",
	Nodes:   nodes.EveryRuntime(),
	Layers:  []int{1, 2, 10, 60, 100},
	Prepare: push,
}

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == storageRole {
		if err := mountFromStorage(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(suite.Run(m))
}

// push puts the images of single tests into the registry.
func push(ctx context.Context, c *cluster.Cluster) error {
	for _, push := range []func(context.Context, *cluster.Cluster) error{pushOwned, pushPrivate, pushTooLarge} {
		if err := push(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
