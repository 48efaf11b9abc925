package node

import (
	"context"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// tooLarge is the reference of an image that no other test pulls.
const tooLarge = "registry.example/test/too-large:1"

func pushTooLarge(ctx context.Context, c *cluster.Cluster) error {
	made, err := image.Numbered(3)
	if err != nil {
		return err
	}
	return c.Push(ctx, "test/too-large:1", made)
}

func TestAnImageAboveTheLimitIsRefusedAndRemoved(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		v := nodes.Volume{ID: "large", Image: tooLarge, Inline: true, ReadOnly: true}
		restart := func(flags ...string) {
			p.Stop(t, syscall.SIGTERM)
			p.Flags = flags
			p.Start(t)
		}
		refused := func() {
			t.Helper()
			if _, err := p.Publish(t, v); status.Code(err) != codes.FailedPrecondition {
				t.Errorf("got %v, want FailedPrecondition", err)
			}
		}
		restart("--" + contract.FlagMaxImageSize + "=100")
		refused()
		if p.Target.Holds(t, tooLarge) {
			t.Error("the image that was pulled in vain stays on the node")
		}
		refused()

		restart("--" + contract.FlagMaxImageSize + "=1Gi")
		p.MustPublish(t, v)
		restart("--" + contract.FlagMaxImageSize + "=100")
		p.MustPublish(t, v) // mounted already
		p.Unpublish(t, v.ID)
		refused()
		if !p.Target.Holds(t, tooLarge) {
			t.Error("an image that was there before is gone")
		}
		p.Stop(t, syscall.SIGTERM)
		p.Target.RemoveImage(t, tooLarge)
	})
}
