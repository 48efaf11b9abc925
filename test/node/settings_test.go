package node

import (
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// What the driver says about pulls and sizes counts for a volume that says nothing, and bounds one that says something. (2 s for
// each node)
func TestTheDriversSettingsHoldForItsVolumes(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		p.Stop(t, syscall.SIGTERM)
		p.Flags = []string{
			"--" + contract.FlagPullPolicy + "=Never", "--" + contract.FlagDefaultSizeLimit + "=8Mi", "--" + contract.FlagMaxSizeLimit + "=9Mi",
			"--" + contract.FlagLimitFallback + "=" + string(contract.FallbackMemory),
		}
		p.Start(t)
		absent := nodes.Volume{ID: "absent", Image: "registry.example/never/pulled:1", Inline: true}
		if _, err := p.Publish(t, absent); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "Never") {
			t.Errorf("an absent image: %v", err)
		}
		of := func(limit string) nodes.Volume {
			v := sizeLimited("limited")
			v.Attributes = map[string]string{contract.PullPolicyAttribute: "IfNotPresent", contract.SizeLimitAttribute: limit}
			return v
		}
		if _, err := p.Publish(t, of("10Mi")); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "9Mi") {
			t.Errorf("a larger volume than the driver allows: %v", err)
		}
		for limit, want := range map[string]int64{"": 8 << 20, "9Mi": 9 << 20} {
			p.MustPublish(t, of(limit))
			if bytes, _ := usage(t, p, "limited"); bytes.GetTotal() != want {
				t.Errorf("a volume with sizeLimit %q: %v", limit, bytes)
			}
			p.Unpublish(t, "limited")
		}
	})
}
