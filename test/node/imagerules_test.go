package node

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// setRules replaces a plugin's file of rules for images, as the kubelet does.
func setRules(t *testing.T, p *nodes.Plugin, path string, rules contract.ImageRules) {
	t.Helper()
	text, err := json.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.Target.Root(), path)
	if err := os.WriteFile(file+".next", text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(err)
	}
}

// The admission policy does not know an alias that the spec has dropped and that is still served. The node plugin holds each of
// its names to the driver's rules. A change of the rules needs no restart, and takes no volume away. (3 s for each node)
func TestTheRulesForImagesHoldUnderEveryNameOfADriver(t *testing.T) {
	withAlias(t, func(t *testing.T, p *nodes.Plugin, alias string) {
		path := filepath.Join("/run", p.Driver+"-rules.json")
		t.Cleanup(func() { _ = os.Remove(filepath.Join(p.Target.Root(), path)) })
		repository, _, _ := strings.Cut(nodes.Numbered(2), ":")
		allowed := contract.ImageRules{AllowedImages: []string{repository}}
		setRules(t, p, path, allowed)
		p.Stop(t, syscall.SIGTERM)
		p.Flags = append(p.Flags, "--"+contract.FlagImageRules+"="+path)
		p.Start(t)

		used := nodes.Volume{ID: "used", Image: nodes.Numbered(2), Inline: true, ReadOnly: true}
		p.MustPublish(t, used)
		refuses := func(when string, v nodes.Volume, words string) {
			t.Helper()
			for _, name := range []string{p.Driver, alias} {
				_, err := p.As(t, name).NodePublishVolume(t.Context(), v.Request(p.Path(v.ID)))
				if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), words) {
					t.Errorf("%s, under the name %s: %v", when, name, err)
				}
			}
		}
		other := nodes.Volume{ID: "other", Image: owned, Inline: true}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(p.Target.Root(), p.Path(other.ID))), 0o755); err != nil {
			t.Fatal(err)
		}
		refuses("another image", other, "allowed are "+repository)
		other.Image = nodes.Numbered(2)
		allowed.ImagePinning = contract.PinningDigest
		setRules(t, p, path, allowed)
		refuses("a tag", other, "name it by digest")
		p.MustPublish(t, used)

		setRules(t, p, path, contract.ImageRules{})
		other.Image = owned
		publishBy(t, p, p.As(t, alias), other)
		for _, id := range []string{used.ID, other.ID} {
			p.Unpublish(t, id)
		}
	})
}
