package node

import (
	"syscall"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// An administrator put a private image on the node. (3 s for each node)
func TestTheDriversPolicySaysWhetherAccessToPreloadedImagesIsVerified(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		host := suite.Registry()
		suite.Push(t, "private/alice/preloaded:1", unique(t))
		image := private(host, "alice", "preloaded")
		runtime, conn := p.Target.Images(t)
		defer conn.Close()
		_, err := runtime.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: image},
			Auth: &runtimeapi.AuthConfig{Username: "alice", Password: cluster.RegistryPassword("alice")}})
		if err != nil {
			t.Fatal(err)
		}
		stranger := nodes.Volume{ID: "stranger", Image: image, Inline: true, ReadOnly: true}
		for _, policy := range []contract.Verification{"", contract.NeverVerifyPreloadedImages, contract.NeverVerify, contract.AlwaysVerify} {
			p.Stop(t, syscall.SIGTERM)
			p.Flags = nil
			if policy != "" {
				p.Flags = []string{"--" + contract.FlagVerify + "=" + string(policy)}
			}
			p.Start(t)
			if policy == contract.AlwaysVerify {
				_ = refused(t, p, string(policy), stranger, "is on this node, but the registry does not give it")
				continue
			}
			p.MustPublish(t, stranger)
			p.Unpublish(t, stranger.ID)
		}
		p.MustPublish(t, nodes.Volume{ID: "alice", Image: image, Inline: true, Secrets: secretFor(host, "alice")})
		p.Unpublish(t, "alice")
	})
}
