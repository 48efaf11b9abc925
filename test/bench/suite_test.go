package bench

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

var suite = nodes.Suite{
	Name: "bench",
	Nodes: []cluster.NodeConfig{
		{Name: "containerd", Runtime: cluster.Containerd},
		{Name: "crio", Runtime: cluster.CRIO}, // whose memory only is measured
	},
	Layers:  []int{10, 60, 400},
	Prepare: []func(context.Context, *cluster.Cluster) error{pushVariants, pushWide},
}

// TestMain starts the node only where benchmarks are asked for.
func TestMain(m *testing.M) {
	cluster.Init() // the node's processes are this program, too
	flag.Parse()
	var err error
	if results.thresholds, err = readThresholds(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if flag.Lookup("test.bench").Value.String() == "" {
		os.Exit(m.Run())
	}
	code := suite.Run(m)
	if err := results.print(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// node is the node that all but memory is measured on.
func node(b *testing.B) *nodes.Target {
	b.Helper()
	return suite.Targets(b)[0]
}
