package images

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// otherArchitecture is one that no machine of the tests has.
const otherArchitecture = "s390x"

// ofAnotherArchitecture is the name of a bad image that is not one of several.
const ofAnotherArchitecture = "image of another architecture"

// bad is an image that cannot be mounted.
type bad struct {
	name string
	make func() (parts, error)

	code  codes.Code
	words string // what a person has to be told

	crio   codes.Code // CRI-O's, where it reports another fault
	layers int        // where there are very many

	// CRI-O goes by the manifest's layers; containerd reads an index within an index, and its snapshotters that copy lower layers
	// have what a hard link names. The pins of what is shown stay for a while.
	crioShows, containerdShows bool
}

// parts are what a registry is given, which need not fit together.
type parts struct {
	blobs    []v1.Layer
	manifest remote.Taggable
}

func TestBadImagesAreRefusedInOneSentenceAndLeaveNothing(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		for _, bad := range badImages {
			t.Run(bad.name, func(t *testing.T) {
				if bad.layers > 500 && most(p.Target) < 500 {
					return // the node cannot be brought such an image, and its layers are counted before they are looked for
				}
				for _, readOnly := range []bool{true, false} {
					v := nodes.Volume{ID: "bad", Image: reference(bad.name), Inline: true, ReadOnly: readOnly}
					before := p.Target.Pins(t, p.Driver)
					bad.check(t, p, publishError(t, p, v), len(before))
					p.Unpublish(t, "bad")
				}
			})
		}
		good := publish(t, p, nodes.Volume{ID: "good", Image: nodes.Numbered(1), Inline: true, ReadOnly: true})
		checkNumbered(t, good, 1)
		p.Unpublish(t, "good")
		leavesNothing(t, p)
	})
}

// claims are images whose configurations list the layer of another image, and whose own layer is another one. containerd
// takes the layer that is listed where it has it; CRI-O looks at what it unpacked.
var claims = []bad{
	{name: "layers of another image", code: codes.FailedPrecondition, make: func() (parts, error) { return claim("layers") }},
	{name: "layers of another image without unpacking", code: codes.FailedPrecondition, make: func() (parts, error) { return claim("x") }},
}

func claim(kind string) (parts, error) {
	other, err := image.Numbered(1)
	if err != nil {
		return parts{}, err
	}
	layers, err := other.Layers()
	if err != nil {
		return parts{}, err
	}
	diff, err := layers[0].DiffID()
	if err != nil {
		return parts{}, err
	}
	own, err := image.Layer(image.File{Path: "/own", Content: []byte(kind)})
	if err != nil {
		return parts{}, err
	}
	return assemble(configOf(kind, diff.String()), own)
}

// With AlwaysVerify, which is for tenants who do not trust each other.
func TestAnImageThatClaimsTheLayersOfAnotherIsRefused(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		p.Stop(t, syscall.SIGTERM)
		p.Flags = []string{"--" + contract.FlagVerify + "=" + string(contract.AlwaysVerify)}
		p.Start(t)
		other := publish(t, p, nodes.Volume{ID: "other", Image: nodes.Numbered(1), Inline: true, ReadOnly: true})
		checkNumbered(t, other, 1)
		for _, bad := range claims {
			err := publishError(t, p, nodes.Volume{ID: "claim", Image: reference(bad.name), Inline: true, ReadOnly: true})
			if status.Code(err) != bad.code || !strings.Contains(err.Error(), reference(bad.name)) {
				t.Errorf("%s: got %v, want %s", bad.name, err, bad.code)
			}
			p.Unpublish(t, "claim")
		}
		p.Unpublish(t, "other")
		leavesNothing(t, p)
	})
}

// publishError publishes as the kubelet does until the pull is over.
func publishError(t *testing.T, p *nodes.Plugin, v nodes.Volume) error {
	t.Helper()
	var last error
	poll.Until(t, "an answer about "+v.Image, bringTimeout, func() error {
		_, last = p.Publish(t, v)
		if status.Code(last) == codes.Aborted {
			return last
		}
		return nil
	})
	return last
}

func (b bad) check(t *testing.T, p *nodes.Plugin, err error, pinned int) {
	t.Helper()
	want := b.code
	crio := p.Target.Runtime == contract.RuntimeCRIO
	if err == nil && (crio && b.crioShows || !crio && b.containerdShows) {
		return
	}
	if crio {
		if b.crio != codes.OK {
			want = b.crio
		}
	}
	message := status.Convert(err).Message()
	if status.Code(err) != want || !strings.Contains(message, reference(b.name)) || strings.Contains(message, "\n") {
		t.Errorf("got %v, want %s and one sentence that names the image", err, want)
	}
	if want == b.code && !strings.Contains(message, b.words) {
		t.Errorf("%q does not say %q", message, b.words)
	}
	if mounts := p.Mounts(t); len(mounts) != 0 {
		t.Errorf("mounts are left: %q", mounts)
	}
	if pins := p.Target.Pins(t, p.Driver); len(pins) > pinned {
		t.Errorf("%d pins were there before: %q", pinned, pins)
	}
}

// leavesNothing stops the plugin and wants nothing of it on the node but its empty directories.
func leavesNothing(t *testing.T, p *nodes.Plugin) {
	t.Helper()
	p.Stop(t, syscall.SIGTERM)
	if mounts := p.Mounts(t); len(mounts) != 0 {
		t.Errorf("mounts are left: %q", mounts)
	}
	if pins := p.Target.Pins(t, p.Driver); len(pins) != 0 {
		t.Errorf("pins are left: %q", pins)
	}
	left, err := filepath.Glob(filepath.Join(p.Target.Root(), nodes.KubeletRoot, "plugins", p.Driver, "volumes", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("data is left: %q (%v)", left, err)
	}
}

// An image that is not one of several says for which platform it was built only in its configuration, and runtimes do not
// mind. To refuse it is the driver's doing, and up to its administrator.
func TestAnImageBuiltForAnotherArchitectureShowsItsFilesWhereItMay(t *testing.T) {
	suite.OnEveryNode(t, func(t *testing.T, p *nodes.Plugin) {
		p.Stop(t, syscall.SIGTERM)
		p.Flags = []string{"--" + contract.FlagOtherPlatforms + "=" + string(contract.OtherPlatformsMount)}
		p.Start(t)
		both(t, p, reference(ofAnotherArchitecture), func(t *testing.T, path string, _ bool) { checkNumbered(t, path, 2) })
	})
}

func reference(name string) string {
	return "registry.example/" + repository(name)
}

func repository(name string) string {
	return "bad/" + strings.ReplaceAll(strings.ToLower(name), " ", "-") + ":1"
}

func pushBad(ctx context.Context, c *cluster.Cluster) error {
	for _, bad := range slices.Concat(badImages, claims) {
		made, err := bad.make()
		if err != nil {
			return fmt.Errorf("%s: %w", bad.name, err)
		}
		ref, err := name.ParseReference(c.HostRegistry()+"/"+repository(bad.name), name.Insecure)
		if err != nil {
			return err
		}
		if err := made.push(ref, remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("%s: %w", bad.name, err)
		}
	}
	return nil
}

func (p parts) push(ref name.Reference, options ...remote.Option) error {
	if index, ok := p.manifest.(v1.ImageIndex); ok {
		return remote.WriteIndex(ref, index, options...)
	}
	for _, blob := range p.blobs {
		if err := remote.WriteLayer(ref.Context(), blob, options...); err != nil {
			return err
		}
	}
	return remote.Put(ref, p.manifest, options...)
}

var badImages = []bad{
	{name: "no layers", code: codes.FailedPrecondition, words: "has no layers", make: func() (parts, error) { return whole(image.New(v1.Config{})) }},
	{name: "too many layers", code: codes.FailedPrecondition, words: "501 layers, and the kernel stacks at most 500; flatten the image", layers: 501, make: func() (parts, error) { return whole(image.Numbered(501)) }},
	{name: "index of another architecture", code: codes.FailedPrecondition, words: "not for this node's operating system and architecture", make: func() (parts, error) {
		child, err := ofArchitecture(otherArchitecture)
		if err != nil {
			return parts{}, err
		}
		return parts{manifest: mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
			Add: child, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: otherArchitecture}},
		})}, nil
	}},
	{name: ofAnotherArchitecture, code: codes.FailedPrecondition, words: `built for "linux" on "` + otherArchitecture + `", and the node is linux`, make: func() (parts, error) {
		return whole(ofArchitecture(otherArchitecture))
	}},
	{name: "artifact", code: codes.FailedPrecondition, words: "container image", make: func() (parts, error) {
		return assemble(blob("{}", "application/vnd.oci.empty.v1+json"), blob("weights", "application/octet-stream"))
	}},
	{name: "layer that is no archive", code: codes.FailedPrecondition, words: "cannot be unpacked", make: func() (parts, error) {
		return corrupt([]byte(strings.Repeat("this is no tar archive ", 100)), compressed)
	}},
	// CRI-O's words are those for a download that the registry cut, which goes well the next time.
	{name: "layer that is cut short", code: codes.FailedPrecondition, words: "cannot be unpacked", crio: codes.Unavailable, make: func() (parts, error) {
		layer, err := image.Layer(image.File{Path: "/file", Content: bytes.Repeat([]byte("0123456789abcdef"), 1<<16)})
		if err != nil {
			return parts{}, err
		}
		reader, err := layer.Uncompressed()
		if err != nil {
			return parts{}, err
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			return parts{}, err
		}
		return corrupt(content, func(content []byte) []byte {
			whole := compressed(content)
			return whole[:len(whole)/2]
		})
	}},
	{name: "hard link to a file of a lower layer", code: codes.FailedPrecondition, words: "cannot be unpacked", containerdShows: true, make: func() (parts, error) {
		upper, err := image.Layer(image.File{Path: "/linked", HardLink: "/file"})
		if err != nil {
			return parts{}, err
		}
		return whole(image.New(v1.Config{}, goodLayer(), upper))
	}},
	{name: "manifest of schema 1", code: codes.FailedPrecondition, words: "build it again and push it as an OCI image", make: func() (parts, error) {
		const kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
		content, err := json.Marshal(map[string]any{"schemaVersion": 1, "name": "bad", "tag": "1", "architecture": runtime.GOARCH, "fsLayers": []any{}, "history": []any{}})
		return parts{manifest: raw{content, kind}}, err
	}},
	{name: "configuration missing", code: codes.NotFound, words: "does not exist in its registry", crio: codes.FailedPrecondition, make: func() (parts, error) {
		made, err := assemble(config("sha256:"+strings.Repeat("f", 64)), goodLayer())
		made.blobs = made.blobs[1:]
		return made, err
	}},
	{name: "configuration of other layers", code: codes.FailedPrecondition, words: "cannot be unpacked", make: func() (parts, error) {
		return assemble(config("sha256:"+strings.Repeat("0", 64)), goodLayer())
	}},
	{name: "configuration that is no JSON", code: codes.FailedPrecondition, words: "cannot be unpacked", make: func() (parts, error) {
		return assemble(blob("not JSON", types.OCIConfigJSON), goodLayer())
	}},
	{name: "configuration of fewer layers", code: codes.FailedPrecondition, words: "cannot be unpacked", crioShows: true, make: func() (parts, error) { return assemble(config(), goodLayer()) }},
	{name: "index within an index", code: codes.FailedPrecondition, words: "name the inner index, or the image in it, by its digest", containerdShows: true, make: func() (parts, error) {
		inner, err := image.Numbered(1)
		if err != nil {
			return parts{}, err
		}
		platform := v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}
		index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: inner, Descriptor: platform})
		return parts{manifest: mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index, Descriptor: platform})}, nil
	}},
}

// whole is an image with everything it needs.
func whole(made v1.Image, err error) (parts, error) {
	if err != nil {
		return parts{}, err
	}
	layers, err := made.Layers()
	if err != nil {
		return parts{}, err
	}
	config, err := made.RawConfigFile()
	return parts{blobs: append(layers, blob(string(config), types.DockerConfigJSON)), manifest: made}, err
}

func ofArchitecture(architecture string) (v1.Image, error) {
	made, err := image.Numbered(2)
	if err != nil {
		return nil, err
	}
	file, err := made.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture = architecture
	return mutate.ConfigFile(made, file)
}

// corrupt is an image whose layer arrives as it was pushed and cannot be unpacked.
func corrupt(content []byte, pack func([]byte) []byte) (parts, error) {
	return assemble(config(digest.FromBytes(content).String()), blob(string(pack(content)), types.OCILayer))
}

// assemble is a manifest of the given blobs, whatever they hold.
func assemble(config v1.Layer, layers ...v1.Layer) (parts, error) {
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for i, blob := range append([]v1.Layer{config}, layers...) {
		kind, err := blob.MediaType()
		if err != nil {
			return parts{}, err
		}
		digest, err := blob.Digest()
		if err != nil {
			return parts{}, err
		}
		size, err := blob.Size()
		if err != nil {
			return parts{}, err
		}
		descriptor := v1.Descriptor{MediaType: kind, Digest: digest, Size: size}
		if i == 0 {
			manifest.Config = descriptor
		} else {
			manifest.Layers = append(manifest.Layers, descriptor)
		}
	}
	content, err := json.Marshal(manifest)
	return parts{blobs: append([]v1.Layer{config}, layers...), manifest: raw{content, types.OCIManifestSchema1}}, err
}

// raw is a manifest as a registry keeps it.
type raw struct {
	content []byte
	kind    types.MediaType
}

func (r raw) RawManifest() ([]byte, error)        { return r.content, nil }
func (r raw) MediaType() (types.MediaType, error) { return r.kind, nil }

func blob(content string, kind types.MediaType) v1.Layer {
	return static.NewLayer([]byte(content), kind)
}

// config is an image's configuration that lists the given layers.
func config(diffIDs ...string) v1.Layer { return configOf("layers", diffIDs...) }

func configOf(kind string, diffIDs ...string) v1.Layer {
	file := map[string]any{
		"os": "linux", "architecture": runtime.GOARCH, "config": map[string]any{},
		"rootfs": map[string]any{"type": kind, "diff_ids": append([]string{}, diffIDs...)},
	}
	content, err := json.Marshal(file)
	if err != nil {
		panic(err)
	}
	return blob(string(content), types.OCIConfigJSON)
}

func goodLayer() v1.Layer {
	layer, err := image.Layer(image.File{Path: "/file", Content: []byte("1")})
	if err != nil {
		panic(err)
	}
	return layer
}

func compressed(content []byte) []byte {
	var buffer bytes.Buffer
	w := gzip.NewWriter(&buffer)
	if _, err := w.Write(content); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buffer.Bytes()
}
