package faults

import (
	"context"
	"os"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/sigkill"
)

var suite = nodes.Suite{
	Name:    "fault-tests",
	Nodes:   nodes.EveryRuntime(),
	Layers:  []int{2},
	Prepare: []func(context.Context, *cluster.Cluster) error{pushPrivate},
}

func TestMain(m *testing.M) {
	sigkill.Init()
	os.Exit(suite.Run(m))
}
