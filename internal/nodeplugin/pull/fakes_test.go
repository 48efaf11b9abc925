package pull

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const fakeDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// fakeCRI is a container runtime whose pulls do what the test prescribes.
type fakeCRI struct {
	runtimeapi.UnimplementedImageServiceServer
	runtimeapi.UnimplementedRuntimeServiceServer

	onPull func(ctx context.Context, image string, auth *runtimeapi.AuthConfig) error
	pulls  atomic.Int32

	// refuse makes the runtime's own policy refuse images to pods of a namespace.
	refuse func(namespace string) error

	size      uint64 // of every image
	otherName string // of every image

	mu      sync.Mutex
	images  map[string]bool
	digests map[string]string // of images; fakeDigest for any other
	listing error             // ListImages fails with it
	looking error             // ImageStatus fails with it
}

// held needs f.mu. It is how the runtime describes an image that it holds under a name.
func (f *fakeCRI) held(name string) *runtimeapi.Image {
	repository, digest, byDigest := strings.Cut(name, "@")
	if !byDigest {
		repository, _, _ = strings.Cut(name, ":")
		digest = cmp.Or(f.digests[name], fakeDigest)
	}
	held := &runtimeapi.Image{Id: "sha256:1", Size: f.size, RepoDigests: []string{repository + "@" + digest}}
	if !byDigest {
		held.RepoTags = []string{name}
	}
	return held
}

func (f *fakeCRI) has(image string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.images[image]
}

func (f *fakeCRI) RemoveImage(_ context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.images, r.GetImage().GetImage())
	return &runtimeapi.RemoveImageResponse{}, nil
}

func (f *fakeCRI) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{}, nil
}

func (f *fakeCRI) ImageStatus(_ context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.looking != nil {
		return nil, f.looking
	}
	if !f.images[r.GetImage().GetImage()] {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	held := f.held(r.GetImage().GetImage())
	if f.otherName != "" {
		held.RepoTags = append(held.RepoTags, f.otherName)
	}
	return &runtimeapi.ImageStatusResponse{Image: held}, nil
}

func (f *fakeCRI) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listing != nil {
		return nil, f.listing
	}
	answer := &runtimeapi.ListImagesResponse{}
	for name, present := range f.images {
		if present {
			answer.Images = append(answer.Images, f.held(name))
		}
	}
	return answer, nil
}

func (f *fakeCRI) PullImage(ctx context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	f.pulls.Add(1)
	if f.refuse != nil {
		if err := f.refuse(r.GetSandboxConfig().GetMetadata().GetNamespace()); err != nil {
			return nil, err
		}
	}
	image := r.GetImage().GetImage()
	if f.onPull != nil {
		if err := f.onPull(ctx, image, r.GetAuth()); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images[image] = true
	return &runtimeapi.PullImageResponse{ImageRef: "sha256:1"}, nil
}

// serve starts the runtime on a socket; stop ends it as a crash would.
func (f *fakeCRI) serve(t *testing.T, socket string) (stop func()) {
	t.Helper()
	if f.images == nil {
		f.images = map[string]bool{}
	}
	_ = os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	runtimeapi.RegisterImageServiceServer(server, f)
	runtimeapi.RegisterRuntimeServiceServer(server, f)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return server.Stop
}

func newPuller(t *testing.T, cri *fakeCRI, config Config) *Puller {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "cri.sock")
	cri.serve(t, socket)
	return dialPuller(t, socket, config)
}

func dialPuller(t *testing.T, socket string, config Config) *Puller {
	t.Helper()
	runtime, err := Dial("unix://" + socket)
	if err != nil {
		t.Fatal(err)
	}
	p := New(runtime, config)
	t.Cleanup(func() {
		p.Close()
		_ = runtime.Close()
	})
	return p
}

// heldUntil is a pull that succeeds when release is closed, unless it is cancelled before.
func heldUntil(release <-chan struct{}) func(context.Context, string, *runtimeapi.AuthConfig) error {
	return func(ctx context.Context, _ string, _ *runtimeapi.AuthConfig) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func kindOf(t *testing.T, err error) Kind {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("not an *Error: %v", err)
	}
	return e.Kind
}

// eventually waits for something that other goroutines bring about.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come about")
		}
	}
}
