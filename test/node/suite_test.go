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
	Prepare: []func(context.Context, *cluster.Cluster) error{pushOwned, pushPrivate, pushTooLarge, pushHeld, pushMixed},
}

func TestMain(m *testing.M) {
	roles := map[string]func(string) error{storageRole: mountFromStorage, mapRole: mapUsers}
	if len(os.Args) == 3 && roles[os.Args[1]] != nil {
		if err := roles[os.Args[1]](os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(suite.Run(m))
}
