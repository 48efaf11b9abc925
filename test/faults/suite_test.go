package faults

import (
	"os"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/sigkill"
)

var suite = nodes.Suite{Name: "fault-tests", Nodes: nodes.EveryRuntime(), Layers: []int{2, 3}}

func TestMain(m *testing.M) {
	sigkill.Init()
	os.Exit(suite.Run(m))
}
