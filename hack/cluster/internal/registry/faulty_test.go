package registry

import (
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestARepositoryHasItsFaultUntilItIsHealed(t *testing.T) {
	server := serve(t, t.TempDir())
	image, err := random.Image(100_000, 1)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(layer)
	if err != nil {
		t.Fatal(err)
	}
	get := func(repository, what string) (int, string, error) {
		response, err := http.Get("http://" + server + "/v2/" + repository + "/" + what)
		if err != nil {
			return 0, "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return response.StatusCode, string(body), err
	}
	for _, kind := range []string{"429", "500", FaultCut, FaultDigest} {
		repository := "faulty/" + kind + "/app"
		if err := remote.Write(reference(t, server, repository+":1"), image); err != nil {
			t.Fatal(err)
		}
		manifest, _, err := get(repository, "manifests/1")
		if err != nil {
			t.Fatal(err)
		}
		_, blob, blobErr := get(repository, "blobs/"+digest.String())
		switch kind {
		case FaultCut:
			if manifest != http.StatusOK || blobErr == nil {
				t.Errorf("%s: manifest %d, %d bytes of the blob (%v)", kind, manifest, len(blob), blobErr)
			}
		case FaultDigest:
			if manifest != http.StatusOK || blobErr != nil || len(blob) != len(want) || blob == string(want) {
				t.Errorf("%s: manifest %d, %d bytes of the blob (%v)", kind, manifest, len(blob), blobErr)
			}
		default:
			if strconv.Itoa(manifest) != kind || blobErr != nil || blob != string(want) {
				t.Errorf("%s: manifest %d, %d bytes of the blob (%v)", kind, manifest, len(blob), blobErr)
			}
		}
		if err := remote.Write(reference(t, server, repository+":"+HealedTag), image); err != nil {
			t.Fatal(err)
		}
		manifest, _, _ = get(repository, "manifests/1")
		if _, blob, err := get(repository, "blobs/"+digest.String()); manifest != http.StatusOK || err != nil || blob != string(want) {
			t.Errorf("%s, healed: manifest %d, %d bytes of the blob (%v)", kind, manifest, len(blob), err)
		}
	}
}
