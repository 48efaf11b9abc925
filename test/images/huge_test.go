package images

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

const (
	// hugeZeros is more than 32 bits count.
	hugeZeros = 4<<30 + 1

	// sparseZeros is what every node has room for.
	sparseZeros = 1<<20 + 1
)

func pushHuge(ctx context.Context, c *cluster.Cluster) error {
	for name, zeros := range map[string]int64{"huge": hugeZeros, "sparse": sparseZeros} {
		made, err := image.Sparse("/"+name, zeros, []byte("end"))
		if err != nil {
			return err
		}
		if err := c.Push(ctx, "test/"+name+":1", made); err != nil {
			return err
		}
	}
	return nil
}

// Each way in which runtimes keep layers reads the layers' sparse files on its own.
func TestASparseFileIsShownAndCopiedUpWhole(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		both(t, p, "registry.example/test/sparse:1", func(t *testing.T, path string, writable bool) {
			wantNames(t, path, "sparse")
			file := filepath.Join(path, "sparse")
			checkEnd(t, file, sparseZeros)
			if writable {
				must(t, os.Chmod(file, 0o600))
				checkEnd(t, file, sparseZeros)
			}
		})
	})
}

func TestAFileOfManyGibibytesIsShownWhole(t *testing.T) {
	for _, target := range suite.Targets(t)[:3] { // once for each runtime: it costs the node's disk its size
		t.Run(target.Name, func(t *testing.T) {
			const reference = "registry.example/test/huge:1"
			p := nodes.Start(t, target, nodes.DriverName())
			path := publish(t, p, nodes.Volume{ID: "huge", Image: reference, Inline: true, ReadOnly: true})
			checkEnd(t, filepath.Join(path, "huge"), hugeZeros)
			p.Unpublish(t, "huge")
			target.RemoveImage(t, reference)
		})
	}
}
