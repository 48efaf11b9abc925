package images

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

var suite = nodes.Suite{
	Name: "image-tests",
	Nodes: append(nodes.EveryRuntime(),
		cluster.NodeConfig{Name: "native", Runtime: cluster.Containerd, Snapshotter: cluster.Native},
		cluster.NodeConfig{Name: "erofs", Runtime: cluster.Containerd, Snapshotter: cluster.EROFS},
	),
	Layers:  append([]int{501}, layerCounts...),
	Prepare: []func(context.Context, *cluster.Cluster) error{pushContents, pushHuge, pushBad},
}

func TestMain(m *testing.M) { os.Exit(suite.Run(m)) }

// bringTimeout bounds a publish with its pull.
const bringTimeout = 5 * time.Minute

// publish publishes a volume as the kubelet does: again and again while the image is being pulled.
func publish(t *testing.T, p *nodes.Plugin, v nodes.Volume) string {
	t.Helper()
	var path string
	poll.Until(t, "volume "+v.ID+" of "+v.Image, bringTimeout, func() error {
		var err error
		path, err = p.Publish(t, v)
		switch status.Code(err) {
		case codes.OK, codes.Aborted, codes.DeadlineExceeded, codes.Unavailable:
			return err
		default:
			t.Fatalf("publish %s: %v", v.Image, err)
			return nil
		}
	})
	return path
}

// both runs a check with a read-only and with a writable volume of an image.
func both(t *testing.T, p *nodes.Plugin, image string, check func(t *testing.T, path string, writable bool)) {
	t.Helper()
	for _, writable := range []bool{false, true} {
		id := fmt.Sprintf("volume-%t", writable)
		path := publish(t, p, nodes.Volume{ID: id, Image: image, Inline: true, ReadOnly: !writable})
		t.Run(fmt.Sprintf("writable=%t", writable), func(t *testing.T) { check(t, path, writable) })
		p.Unpublish(t, id)
	}
}
