package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// It costs about two seconds.
func TestANamespaceWhosePolicyRejectsAnImageHasNoVolumeOfIt(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		if p.Target.Runtime != contract.RuntimeCRIO {
			t.Skip("containerd knows no policies for namespaces")
		}
		made, err := image.Numbered(2)
		if err != nil {
			t.Fatal(err)
		}
		suite.Push(t, "trust/pulled:1", made)
		suite.Push(t, "trust/preloaded:1", unique(t))
		name := func(of string) string { return suite.Registry() + "/trust/" + of + ":1" }
		runtime, conn := p.Target.Images(t)
		defer conn.Close()
		preloaded := &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: name("preloaded")}}
		if _, err := runtime.PullImage(t.Context(), preloaded); err != nil { // not by the driver
			t.Fatal(err)
		}

		strict := filepath.Join(p.Target.Root(), contract.CRIOPolicyDir, "strict.json")
		policy := func(kind string) {
			t.Helper()
			if err := os.MkdirAll(filepath.Dir(strict), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(strict, []byte(`{"default":[{"type":"`+kind+`"}]}`), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { _ = os.Remove(strict) })
		in := func(namespace, of string) nodes.Volume {
			return nodes.Volume{ID: namespace + "-" + of, Image: name(of), Inline: true, ReadOnly: true,
				Attributes: map[string]string{contract.PodNamespaceAttribute: namespace}}
		}
		refuse := func(v nodes.Volume) {
			t.Helper()
			_, err := p.Publish(t, v)
			if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "not trusted") {
				t.Errorf("%s: %v, want PermissionDenied", v.ID, err)
			}
		}
		policy("reject")
		refuse(in("strict", "pulled"))
		p.MustPublish(t, in("lax", "pulled"))
		refuse(in("strict", "pulled")) // which is on the node now
		refuse(in("strict", "preloaded"))
		p.MustPublish(t, in("lax", "preloaded"))

		never := in("strict", "preloaded")
		never.Attributes[contract.PullPolicyAttribute] = "Never"
		if _, err := p.Publish(t, never); status.Code(err) != codes.PermissionDenied {
			t.Errorf("pullPolicy Never: %v", err)
		}
		policy("insecureAcceptAnything")
		p.MustPublish(t, in("strict", "pulled"))
		p.MustPublish(t, in("strict", "preloaded"))
		policy("reject") // again: what an earlier policy allowed is not remembered
		again := in("strict", "preloaded")
		again.ID += "-again"
		refuse(again)
		for _, v := range []nodes.Volume{in("lax", "pulled"), in("lax", "preloaded"), in("strict", "pulled"), in("strict", "preloaded")} {
			p.Unpublish(t, v.ID)
		}
	})
}
