package crio

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"
	"go.podman.io/storage/types"
)

const driver = "container-image.csi.k8s.io"

// fixture is a store of the test's own, with the runtime's handle on it.
type fixture struct {
	dir     string
	runtime storage.Store
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	runtime, err := runtimeStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := runtime.Shutdown(true); err != nil {
			t.Error(err)
		}
		runtime.Free()
	})
	return &fixture{dir: dir, runtime: runtime}
}

// runtimeStore opens the store as CRI-O does.
func runtimeStore(dir string) (storage.Store, error) {
	return storage.GetStore(types.StoreOptions{GraphRoot: filepath.Join(dir, "graph"), RunRoot: filepath.Join(dir, "run"),
		GraphDriverName: "overlay", GraphDriverOptions: []string{"overlay.skip_mount_home=true"}})
}

func (f *fixture) open(t *testing.T, driver string) *Store {
	t.Helper()
	s, err := Open(Config{GraphRoot: filepath.Join(f.dir, "graph"), RunRoot: filepath.Join(f.dir, "run"), Driver: driver})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// image adds an image of n layers. Layer i holds the file "layer-i".
func (f *fixture) image(t *testing.T, name string, n int) *storage.Image {
	t.Helper()
	image, err := addImage(f.runtime, name, n)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func addImage(s storage.Store, name string, n int) (*storage.Image, error) {
	parent := ""
	for i := 1; i <= n; i++ {
		archive, err := layerArchive(fmt.Sprintf("layer-%d", i), name)
		if err != nil {
			return nil, err
		}
		layer, _, err := s.PutLayer("", parent, nil, "", false, nil, bytes.NewReader(archive))
		if err != nil {
			return nil, err
		}
		parent = layer.ID
	}
	return s.CreateImage("", []string{name}, parent, "", &storage.ImageOptions{Digest: digest.FromString(name)})
}

// configure gives an image a configuration and a manifest, as CRI-O does.
func (f *fixture) configure(t *testing.T, image *storage.Image, config ocispec.Image) {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(ocispec.Manifest{Config: ocispec.Descriptor{Digest: digest.FromBytes(text)}})
	if err != nil {
		t.Fatal(err)
	}
	for key, content := range map[string][]byte{digest.FromBytes(text).String(): text, storage.ImageDigestBigDataKey: manifest} {
		err := f.runtime.SetImageBigData(image.ID, key, content, func(b []byte) (digest.Digest, error) { return digest.FromBytes(b), nil })
		if err != nil {
			t.Fatal(err)
		}
	}
}

func layerArchive(file, content string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	header := &tar.Header{Name: file, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write([]byte(content)); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

// addedByRuntime is the image that another process adds.
const addedByRuntime = "registry.example/later:1"

func runtimeAddsImage(dir string) error {
	s, err := runtimeStore(dir)
	if err != nil {
		return err
	}
	_, err = addImage(s, addedByRuntime, 2)
	return err
}

// anotherProcessAddsAnImage does so while this one has the store open.
func anotherProcessAddsAnImage(t *testing.T, f *fixture) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleEnv+"="+roleRuntime, dirEnv+"="+f.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// snapshotOf lists the store's files with their times, to see a write.
func snapshotOf(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		fmt.Fprintln(&out, path, info.Size(), info.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
