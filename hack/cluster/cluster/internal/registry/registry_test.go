package registry

import (
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
