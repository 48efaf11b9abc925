package e2e

import (
	"cmp"
	"os"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/test/internal/clusters"
)

// operatorNamespace is that of the operator's Deployment.
const operatorNamespace = clusters.OperatorNamespace

// suite is a two-node cluster with the operator installed.
type suite struct {
	cluster   *clusters.Cluster
	root      string // the checkout
	namespace string // the node plugins'
}

func TestMain(m *testing.M) {
	cluster.Init()
	os.Exit(m.Run())
}

// start brings the cluster of a name up and installs the operator as config/default says; the test's end takes it down.
func start(t *testing.T, name string) *suite {
	t.Helper()
	s := &suite{namespace: clusters.PluginNamespace}
	s.cluster = clusters.Up(t, cluster.Config{
		Name: name,
		Nodes: []cluster.NodeConfig{
			{Name: "n1", Runtime: cluster.Containerd, OCIRuntime: ociRuntime()},
			{Name: "n2", Runtime: cluster.CRIO, OCIRuntime: ociRuntime()},
		},
	}, "busybox-static", "bubblewrap")
	s.root = s.cluster.Root
	if err := s.push(t); err != nil {
		t.Fatal("push the tests' images: ", err)
	}
	s.cluster.Install(t)
	return s
}

func (s *suite) push(t *testing.T) error {
	data, err := image.Data(
		[]image.File{{Path: "/hello.txt", Content: []byte("a lower layer's\n")}, {Path: "/sub/file", Content: []byte("x\n")}},
		[]image.File{{Path: "/hello.txt", Content: []byte(known)}},
	)
	if err != nil {
		return err
	}
	if err := s.cluster.Push(t.Context(), privateImage, data); err != nil {
		return err
	}
	return s.cluster.Push(t.Context(), "e2e/known:1", data)
}

// ociRuntime is what starts the containers of both nodes. Debian's crun 1.8 lacks what some steps need: users of volumes (1.9) and mounts
// that are read-only with all beneath them (1.8.6).
func ociRuntime() cluster.OCIRuntime {
	return cluster.OCIRuntime(cmp.Or(os.Getenv("IMAGECSI_OCI_RUNTIME"), string(cluster.Runc)))
}
