package containerd

import (
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func testDownloads(t *testing.T, d *daemon) {
	ctx, started := testContext(t), time.Now().Add(-time.Second)
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
	s := d.store(t, "a.example")
	for since, want := range map[time.Time][3]int64{
		started:                  {1, 14, 100},
		started.Add(time.Minute): {},
	} {
		layers, done, total, err := s.Downloads(t.Context(), since)
		if got := [3]int64{int64(layers), done, total}; err != nil || got != want {
			t.Errorf("since %s: layers, bytes done and in all: %v (%v), want %v", since, got, err, want)
		}
	}
}
