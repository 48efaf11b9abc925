package registry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestPushedImagesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	server := serve(t, dir)
	image, err := random.Image(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	index, err := random.Index(100, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(reference(t, server, "a/image:1"), image); err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(reference(t, server, "a/index:1"), index); err != nil {
		t.Fatal(err)
	}

	restarted := serve(t, dir)
	got, err := remote.Image(reference(t, restarted, "a/image:1"))
	if err != nil {
		t.Fatal(err)
	}
	wanted, _ := image.Digest()
	if digest, err := got.Digest(); err != nil || digest != wanted {
		t.Errorf("got %v and %v, want %v", digest, err, wanted)
	}
	if _, err := remote.Index(reference(t, restarted, "a/index:1")); err != nil {
		t.Error(err)
	}
}

func TestDeletedImagesStayDeleted(t *testing.T) {
	dir := t.TempDir()
	server := serve(t, dir)
	image, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref := reference(t, server, "a/image:1")
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(ref); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Image(reference(t, serve(t, dir), "a/image:1")); err == nil {
		t.Error("the image is back")
	}
}

func serve(t *testing.T, dir string) string {
	t.Helper()
	handler, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func reference(t *testing.T, server, rest string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(server + "/" + rest)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// A runtime goes on with a download where it ended.
func TestTheRestOfABlobIsServed(t *testing.T) {
	server := serve(t, t.TempDir())
	image, err := random.Image(100_000, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(reference(t, server, "a/image:1"), image); err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layer := manifest.Layers[0]
	for from, want := range map[string]struct {
		status int
		bytes  int64
	}{"": {http.StatusOK, layer.Size}, "bytes=1000-": {http.StatusPartialContent, layer.Size - 1000}} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server+"/v2/a/image/blobs/"+layer.Digest.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if from != "" {
			request.Header.Set("Range", from)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != want.status || int64(len(body)) != want.bytes {
			t.Errorf("%q: status %d, %d bytes (%v), want %v", from, answer.StatusCode, len(body), err, want)
		}
	}
}
