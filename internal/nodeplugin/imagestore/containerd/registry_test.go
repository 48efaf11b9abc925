package containerd

import (
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// registry gives out what it was given, whatever that is.
type registry struct {
	host      string
	manifests map[string][]byte // by "<repository>:<tag>" and "<repository>:<digest>"
	blobs     map[string][]byte // by digest
}

func startRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{manifests: map[string][]byte{}, blobs: map[string][]byte{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	parent, last := path.Split(strings.TrimPrefix(q.URL.Path, "/v2/"))
	repository, isManifest := strings.CutSuffix(parent, "/manifests/")
	content, mediaType := r.blobs[last], "application/octet-stream"
	if isManifest {
		content, mediaType = r.manifests[repository+":"+last], ocispec.MediaTypeImageManifest
	}
	if content == nil && q.URL.Path != "/v2/" {
		http.NotFound(w, q)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(content).String())
	_, _ = w.Write(content) // the server leaves it out where only its length is asked for
}

// push makes <repository>:1 of a configuration and layers, which need not fit together, and returns its name.
func (r *registry) push(t *testing.T, repository string, config any, layers ...[]byte) string {
	t.Helper()
	keep := func(mediaType string, content []byte) ocispec.Descriptor {
		id := digest.FromBytes(content)
		r.blobs[id.String()] = content
		return ocispec.Descriptor{MediaType: mediaType, Digest: id, Size: int64(len(content))}
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: keep(ocispec.MediaTypeImageConfig, toJSON(t, config))}
	for _, layer := range layers { // containerd looks whether it is compressed
		manifest.Layers = append(manifest.Layers, keep(ocispec.MediaTypeImageLayerGzip, layer))
	}
	content := toJSON(t, manifest)
	for _, name := range []string{"1", digest.FromBytes(content).String()} {
		r.manifests[repository+":"+name] = content
	}
	return r.host + "/" + repository + ":1"
}

// pull has containerd's CRI service pull an image, as a node plugin does.
func (s *Store) pull(t *testing.T, ref string) {
	t.Helper()
	conn, err := s.conn()
	if err != nil {
		t.Fatal(err)
	}
	_, err = runtimeapi.NewImageServiceClient(conn.(*grpc.ClientConn)).PullImage(testContext(t),
		&runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if err != nil {
		t.Fatalf("pulling %s: %v", ref, err)
	}
}
