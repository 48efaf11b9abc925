package node

import (
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

func TestATagThatMovedCountsForThoseWhoAskTheRegistry(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		name := "moved/" + p.Target.Name + ":1"
		push := func(version string) {
			made, err := image.Data([]image.File{{Path: "/version", Content: []byte(version)}})
			if err != nil {
				t.Fatal(err)
			}
			suite.Push(t, name, made)
		}
		mount := func(key, value string) (version string) {
			v := nodes.Volume{ID: "moved", Image: suite.Registry() + "/" + name, Inline: true, ReadOnly: true, Attributes: map[string]string{key: value}}
			path := p.MustPublish(t, v)
			defer p.Unpublish(t, v.ID)
			return nodes.Read(t, path, "version")
		}
		push("first")
		mount("", "")
		push("second")
		for _, c := range []struct{ key, value, want string }{
			{"", "", "first"},
			{contract.PullPolicyAttribute, "IfNotPresent", "first"},
			{contract.PullPolicyAttribute, "Never", "first"},
			{contract.PullAlwaysAttribute, "TRUE", "second"},
			{contract.PullPolicyAttribute, "Never", "second"},
		} {
			if got := mount(c.key, c.value); got != c.want {
				t.Errorf("%s=%q shows the %s version, want the %s", c.key, c.value, got, c.want)
			}
		}
		push("third")
		if got := mount(contract.PullPolicyAttribute, "Always"); got != "third" {
			t.Errorf("Always shows the %s version", got)
		}
	})
}
