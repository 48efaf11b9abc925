package node

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// netRaw is CAP_NET_RAW as a file has it, in the form of the attribute (capabilities(7), version 2).
const netRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// held are images by what they hold.
var held = map[contract.ImageContent]struct {
	image string
	file  image.File
	says  string
}{
	contract.ContentSetIDFiles:       {"set-uid", image.File{Path: "/usr/bin/su", Mode: 0o4755}, "a set-uid or set-gid file"},
	contract.ContentFileCapabilities: {"capabilities", image.File{Path: "/usr/bin/ping", Mode: 0o755, Xattrs: map[string]string{"security.capability": netRaw}}, "a file with capabilities"},
	contract.ContentDeviceNodes:      {"device", image.File{Path: "/usr/dev/null", Mode: 0o666, Device: &image.Device{Type: tar.TypeChar, Major: 1, Minor: 3}}, "a device node"},
}

func heldImage(name string) string { return "registry.example/test/holds-" + name + ":1" }

// pushHeld pushes an image for each kind, which a lower layer brings, and one whose upper layer takes all of it away: what is
// hidden is in no volume.
func pushHeld(ctx context.Context, c *cluster.Cluster) error {
	filler := []image.File{{Path: "/usr/share/filler", Content: []byte("x")}}
	var lower []image.File
	push := func(name string, layers ...[]image.File) error {
		made, err := image.Data(layers...)
		if err != nil {
			return err
		}
		return c.Push(ctx, "test/holds-"+name+":1", made)
	}
	for _, h := range held {
		lower = append(lower, h.file)
		if err := push(h.image, []image.File{h.file}, filler); err != nil {
			return err
		}
	}
	// By each of the ways to hide a file: another one in its place, its own white-out, and an opaque directory.
	upper := []image.File{{Path: "/usr/bin/su", Mode: 0o755}, image.Whiteout("/usr/bin/ping"), image.Opaque("/usr/dev")}
	return push("nothing-shown", lower, upper)
}

// The log has what each look took, that at a hundred layers among them. (5 s for each node)
func TestWhatTheDriverRefusesInImagesIsNotMounted(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		path := filepath.Join("/run", p.Driver+"-content.json")
		t.Cleanup(func() { _ = os.Remove(filepath.Join(p.Target.Root(), path)) })
		setRules(t, p, path, contract.ImageRules{})
		p.Stop(t, syscall.SIGTERM)
		p.Flags = append(p.Flags, "--"+contract.FlagImageRules+"="+path)
		p.Start(t)

		for kind := range held {
			for _, readOnly := range []bool{true, false} {
				p.MustPublish(t, volumeHolding(kind, "before", readOnly))
			}
		}
		setRules(t, p, path, contract.ImageRules{RefusedContent: []contract.ImageContent{
			contract.ContentSetIDFiles, contract.ContentFileCapabilities, contract.ContentDeviceNodes}})
		p.Stop(t, syscall.SIGTERM)
		p.Start(t)
		for kind := range held {
			for _, readOnly := range []bool{true, false} {
				// What a pod uses stays, whoever asks again.
				p.MustPublish(t, volumeHolding(kind, "before", readOnly))
				refusedContent(t, p, kind, volumeHolding(kind, "after", readOnly))
				p.Unpublish(t, volumeHolding(kind, "before", readOnly).ID)
			}
		}
		p.MustPublish(t, nodes.Volume{ID: "nothing-shown", Image: heldImage("nothing-shown"), Inline: true, ReadOnly: true})
		p.Unpublish(t, "nothing-shown")
		p.MustPublish(t, nodes.Volume{ID: "large", Image: nodes.Numbered(100), Inline: true, ReadOnly: true})
		p.Unpublish(t, "large")
		for line := range strings.Lines(p.Said()) {
			if strings.Contains(line, "looked through") {
				t.Log(strings.TrimSpace(line))
			}
		}

		others := map[contract.ImageContent]contract.ImageContent{contract.ContentSetIDFiles: contract.ContentDeviceNodes,
			contract.ContentFileCapabilities: contract.ContentSetIDFiles, contract.ContentDeviceNodes: contract.ContentFileCapabilities}
		for kind, other := range others {
			setRules(t, p, path, contract.ImageRules{RefusedContent: []contract.ImageContent{other}})
			v := volumeHolding(kind, "after", true)
			p.MustPublish(t, v)
			p.Unpublish(t, v.ID)
		}
		if left := p.Mounts(t); len(left) != 0 {
			t.Errorf("mounts are left: %q", left)
		}
	})
}

// volumeHolding is a volume of the image that holds a kind of file.
func volumeHolding(kind contract.ImageContent, when string, readOnly bool) nodes.Volume {
	return nodes.Volume{ID: fmt.Sprintf("%s-%s-%t", strings.ToLower(string(kind)), when, readOnly), Image: heldImage(held[kind].image), Inline: true, ReadOnly: readOnly}
}

// refusedContent wants a volume to be refused in a sentence that names the file, and nothing to be left of it.
func refusedContent(t *testing.T, p *nodes.Plugin, kind contract.ImageContent, v nodes.Volume) {
	t.Helper()
	_, err := p.Publish(t, v)
	if status.Code(err) != codes.FailedPrecondition {
		t.Fatalf("%s: %v", kind, err)
	}
	for _, word := range []string{v.Image, held[kind].says, held[kind].file.Path, string(kind), "spec.security.refusedContent"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v does not say %s", kind, err, word)
		}
	}
	p.Unpublish(t, v.ID)
}

// Under the filter of system calls that the node plugin lists, it looks through images as well.
func TestUnderItsOwnSeccompProfileAPluginLooksThroughImages(t *testing.T) {
	confined(t, func(t *testing.T, p *nodes.Plugin) {
		path := filepath.Join(nodes.KubeletRoot, contract.PluginsDir, p.Driver, "content.json") // which its container sees
		setRules(t, p, path, contract.ImageRules{RefusedContent: []contract.ImageContent{contract.ContentFileCapabilities}})
		p.Stop(t, syscall.SIGTERM)
		p.Flags = append(p.Flags, "--"+contract.FlagImageRules+"="+path)
		p.Start(t)
		refusedContent(t, p, contract.ContentFileCapabilities, volumeHolding(contract.ContentFileCapabilities, "confined", true))
	})
}
