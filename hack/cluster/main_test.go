package cluster_test

import (
	"os"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster"
)

func TestMain(m *testing.M) {
	cluster.Init()
	os.Exit(m.Run())
}
