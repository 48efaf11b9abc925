package images

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// hugeZeros is more than 32 bits count.
const hugeZeros = 4<<30 + 1

func pushHuge(ctx context.Context, c *cluster.Cluster) error {
	made, err := image.Sparse("/huge", hugeZeros, []byte("end"))
	if err != nil {
		return err
	}
	return c.Push(ctx, "test/huge:1", made)
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
