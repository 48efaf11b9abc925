package containerd

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func testDownloads(t *testing.T, d *daemon) {
	ctx, started := testContext(t), time.Now().Add(-time.Second)
	s := d.store(t, "a.example")
	layers, done, total, err := s.Downloading(t.Context(), started) // what another test has left
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"layer-", "manifest-"} {
		data := []byte("the first part")
		desc := ocispec.Descriptor{Digest: digest.FromString(kind), Size: 100}
		w, err := content.OpenWriter(ctx, d.client(t).ContentStore(), content.WithRef(kind+desc.Digest.String()), content.WithDescriptor(desc))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for since, want := range map[time.Time][3]int64{
		started:                  {int64(layers) + 1, done + 14, total + 100},
		started.Add(time.Minute): {},
	} {
		layers, done, total, err := s.Downloading(t.Context(), since)
		if got := [3]int64{int64(layers), done, total}; err != nil || got != want {
			t.Errorf("since %s: layers, bytes done and in all: %v (%v), want %v", since, got, err, want)
		}
	}
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
