package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
)

// daemonEnv names the directory of the containerd binary to test with; PATH is searched otherwise.
const daemonEnv = "IMAGECSI_TEST_CONTAINERD"

// daemon is a containerd of the test's own: its own root, state, socket and mount namespace.
type daemon struct {
	dir, binary string
	cmd         *exec.Cmd
}

func (d *daemon) socket() string { return filepath.Join(d.dir, "containerd.sock") }

// startDaemon starts a containerd without its CRI service.
func startDaemon(t *testing.T) *daemon {
	t.Helper()
	return startWithout(t, "io.containerd.grpc.v1.cri")
}

func startWithout(t *testing.T, plugin string) *daemon {
	t.Helper()
	binary, err := findBinary()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	d := &daemon{dir: t.TempDir(), binary: binary}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [%q]\n"+
		"[grpc]\naddress = %q\n[ttrpc]\naddress = %q\n",
		filepath.Join(d.dir, "root"), filepath.Join(d.dir, "state"), plugin, d.socket(), d.socket()+".ttrpc")
	if err := os.WriteFile(filepath.Join(d.dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d.start(t)
	t.Cleanup(d.stop)
	return d
}

func findBinary() (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("containerd needs root")
	}
	if dir := os.Getenv(daemonEnv); dir != "" {
		return exec.LookPath(filepath.Join(dir, "containerd"))
	}
	path, err := exec.LookPath("containerd")
	if err != nil {
		return "", fmt.Errorf("no containerd to test with; set %s to the directory of one: %w", daemonEnv, err)
	}
	return path, nil
}

func (d *daemon) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command(d.binary, "--config", filepath.Join(d.dir, "config.toml"))
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := d.client(t)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := c.Version(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("containerd does not come up: %v\n%s", err, said)
		}
	}
}

func (d *daemon) stop() {
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
}

func (d *daemon) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(d.socket(), client.WithDefaultNamespace(kubernetesNamespace))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// overheard is a client that reports its calls to the test.
func (d *daemon) overheard(t *testing.T, called func(method string)) *client.Client {
	t.Helper()
	unary := func(ctx context.Context, method string, in, out any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		called(method)
		return call(ctx, method, in, out, conn, opts...)
	}
	stream := func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer,
		opts ...grpc.CallOption) (grpc.ClientStream, error) {
		called(method)
		return open(ctx, desc, conn, method, opts...)
	}
	c, err := client.New(d.socket(), client.WithDefaultNamespace(kubernetesNamespace), client.WithExtraDialOpts([]grpc.DialOption{
		grpc.WithChainUnaryInterceptor(unary), grpc.WithChainStreamInterceptor(stream)}))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (d *daemon) store(t *testing.T, driver string) *Store {
	t.Helper()
	s, err := Open(Config{Endpoint: "unix://" + d.socket(), Driver: driver})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// load imports an image of n layers without unpacking it. Layer i holds the file "layer-i" and the image's name.
func (d *daemon) load(t *testing.T, name string, n int) client.Image {
	t.Helper()
	c := d.client(t)
	found, err := c.Import(testContext(t), bytes.NewReader(archive(t, name, n)))
	if err != nil || len(found) != 1 {
		t.Fatalf("importing %s: %d images, %v", name, len(found), err)
	}
	return client.NewImage(c, found[0])
}

// loadDamaged imports an image of one layer whose manifest names a configuration that was changed.
func (d *daemon) loadDamaged(t *testing.T, name string, change func(config *ocispec.Image, size *int64)) {
	t.Helper()
	ctx, c, image := testContext(t), d.client(t), d.load(t, name+"-whole", 1) // which keeps the layer
	manifest, err := images.Manifest(ctx, c.ContentStore(), image.Target(), image.Platform())
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.RootFS(ctx)
	if err != nil {
		t.Fatal(err)
	}
	write := func(mediaType string, v any) ocispec.Descriptor {
		blob := toJSON(t, v)
		desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
		err := content.WriteBlob(ctx, c.ContentStore(), desc.Digest.String(), bytes.NewReader(blob), desc,
			content.WithLabels(map[string]string{rootLabel: name}))
		if err != nil {
			t.Fatal(err)
		}
		return desc
	}
	config := ocispec.Image{Platform: platforms.DefaultSpec(), RootFS: ocispec.RootFS{Type: "layers", DiffIDs: layers}}
	size := int64(0)
	change(&config, &size)
	manifest.Config = write(ocispec.MediaTypeImageConfig, config)
	manifest.Config.Size += size
	damaged := image.Metadata()
	damaged.Name, damaged.Target = name, write(ocispec.MediaTypeImageManifest, manifest)
	if _, err := c.ImageService().Create(ctx, damaged); err != nil {
		t.Fatal(err)
	}
}

// archive is an image of n layers in the OCI layout.
func archive(t *testing.T, name string, n int) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	blob := func(mediaType string, content []byte) ocispec.Descriptor {
		d := digest.FromBytes(content)
		addFile(t, w, "blobs/sha256/"+d.Encoded(), content)
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
	}
	config := ocispec.Image{Platform: platforms.DefaultSpec(), RootFS: ocispec.RootFS{Type: "layers"}}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for i := 1; i <= n; i++ {
		var layer bytes.Buffer
		lw := tar.NewWriter(&layer)
		addFile(t, lw, fmt.Sprintf("layer-%d", i), []byte(name))
		if err := lw.Close(); err != nil {
			t.Fatal(err)
		}
		manifest.Layers = append(manifest.Layers, blob(ocispec.MediaTypeImageLayer, layer.Bytes()))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(layer.Bytes()))
	}
	manifest.Config = blob(ocispec.MediaTypeImageConfig, toJSON(t, config))
	top := blob(ocispec.MediaTypeImageManifest, toJSON(t, manifest))
	top.Annotations = map[string]string{"io.containerd.image.name": name}
	addFile(t, w, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	addFile(t, w, "index.json", toJSON(t, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{top}}))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func addFile(t *testing.T, w *tar.Writer, name string, content []byte) {
	t.Helper()
	header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
}

func toJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return namespaces.WithNamespace(ctx, kubernetesNamespace)
}
