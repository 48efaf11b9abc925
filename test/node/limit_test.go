package node

import (
	"context"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/hack/cluster/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
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

// holds tells whether the runtime holds an image.
func (t *target) holds(test *testing.T, reference string) bool {
	test.Helper()
	client, conn := t.images(test)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(test.Context(), 10*time.Second)
	defer cancel()
	answer, err := client.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: reference}})
	if err != nil {
		test.Fatal(err)
	}
	return answer.GetImage() != nil
}

func TestAnImageAboveTheLimitIsRefusedAndRemoved(t *testing.T) {
	onEveryRuntime(t, func(t *testing.T, p *plugin) {
		v := volume{id: "large", image: tooLarge, inline: true, readOnly: true}
		restart := func(flags ...string) {
			p.stop(t, syscall.SIGTERM)
			p.flags = flags
			p.start(t)
		}
		refused := func() {
			t.Helper()
			if _, err := p.publish(t, v); status.Code(err) != codes.FailedPrecondition {
				t.Errorf("got %v, want FailedPrecondition", err)
			}
		}
		restart("--" + contract.FlagMaxImageSize + "=100")
		refused()
		if p.target.holds(t, tooLarge) {
			t.Error("the image that was pulled in vain stays on the node")
		}
		refused()

		restart("--" + contract.FlagMaxImageSize + "=1Gi")
		p.mustPublish(t, v)
		restart("--" + contract.FlagMaxImageSize + "=100")
		p.mustPublish(t, v) // mounted already
		p.unpublish(t, v.id)
		refused()
		if !p.target.holds(t, tooLarge) {
			t.Error("an image that was there before is gone")
		}
		p.stop(t, syscall.SIGTERM)
		p.target.removeImage(t, tooLarge)
	})
}
