package node

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

var suite = nodes.Suite{
	Name:    "node-tests",
	Nodes:   nodes.EveryRuntime(),
	Layers:  []int{1, 2, 10, 60, 100},
	Prepare: []func(context.Context, *cluster.Cluster) error{pushOwned, pushPrivate, pushTooLarge, pushHeld},
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
