package containerd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func testDownloads(t *testing.T, d *daemon) {
	const half, size, image = "the first part", 100, "registry.example:5000/team/app:1"
	ctx, s, begun := testContext(t), d.store(t, "a.example"), time.Now()
	store := d.client(t).ContentStore()
	layer := func(name string) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString(name), Size: size}
	}
	write := func(blob string, labels map[string]string) ocispec.Descriptor {
		t.Helper()
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString(blob), Size: int64(len(blob))}
		if err := content.WriteBlob(ctx, store, desc.Digest.String(), strings.NewReader(blob), desc, content.WithLabels(labels)); err != nil {
			t.Fatal(err)
		}
		return desc
	}
	// pull brings a manifest as a pull does. It is a root of the collector, for there is no lease.
	pull := func(repository string, layers ...ocispec.Descriptor) {
		t.Helper()
		write(string(toJSON(t, ocispec.Manifest{Layers: layers})), map[string]string{rootLabel: "test",
			sourceLabel + "registry.example": "another/one," + repository, configLabel: digest.FromString("config").String()})
	}
	want := func(what, image string, since time.Time, done, total int64) {
		t.Helper()
		if d, n, err := s.Downloading(t.Context(), image, since); err != nil || d != done || n != total {
			t.Errorf("%s: %d of %d bytes (%v), want %d of %d", what, d, n, err, done, total)
		}
	}

	download(ctx, t, d, "layer-"+layer("of another image").Digest.String(), layer("of another image"), half)
	want("before the manifest", image, begun, 0, 0)
	complete := write("a layer that is there", map[string]string{rootLabel: "test"})
	pull("team/app", complete, layer("begun"), layer("waiting"), layer("waiting"))
	want("one layer there", image, begun, complete.Size, complete.Size+2*size)
	download(ctx, t, d, "layer-"+layer("begun").Digest.String(), layer("begun"), half)
	want("the second begun", image, begun, complete.Size+int64(len(half)), complete.Size+2*size)
	want("another repository", "registry.example:5000/team/ap:1", begun, 0, 0)
	want("another registry", "other.example/team/app:1", begun, 0, 0)
	want("a pull that began later", image, time.Now().Add(time.Minute), 0, 0)
	pull("team/app", layer("of another tag"))
	want("two pulls of the repository", image, begun, 0, 0)
}

func testCorruptDownloads(t *testing.T, d *daemon) {
	ctx := testContext(t)
	const wrong = "not what its digest says"
	for what, size := range map[string]int64{"complete": int64(len(wrong)), "under way": 100} {
		desc := ocispec.Descriptor{Digest: digest.FromString(what), Size: size}
		ref := "layer-" + desc.Digest.String()
		download(ctx, t, d, ref, desc, wrong)
		failed := fmt.Errorf("failed to copy: failed commit on ref %q: unexpected commit digest", ref)
		s := d.store(t, "a.example")
		for range 2 {
			if err := discard(t, s, failed); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := s.DiscardDownload(t.Context(), errors.New("failed to copy: corrupt input")); err != nil {
			t.Errorf("an error that names no download: %v", err)
		}
		if _, err := d.client(t).ContentStore().Status(ctx, ref); errors.Is(err, errdefs.ErrNotFound) != (what == "complete") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// discard tries for a while: containerd may still be closing what a client has left a moment ago.
func discard(t *testing.T, s *Store, corrupt error) error {
	t.Helper()
	var err error
	for range 100 {
		if err = s.DiscardDownload(t.Context(), corrupt); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// download begins a download and leaves it.
func download(ctx context.Context, t *testing.T, d *daemon, ref string, desc ocispec.Descriptor, data string) {
	t.Helper()
	w, err := content.OpenWriter(ctx, d.client(t).ContentStore(), content.WithRef(ref), content.WithDescriptor(desc))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
