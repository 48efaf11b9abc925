package pull

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// statusTimeout bounds the runtime's answers that come from its own records.
	statusTimeout = 10 * time.Second

	// reconnectDelay bounds the time until a runtime that came back is noticed.
	reconnectDelay = 3 * time.Second

	// maxMessageBytes is the kubelet's bound for CRI messages.
	maxMessageBytes = 16 << 20
)

// Runtime is a connection to the container runtime's CRI socket. It survives restarts of the runtime: calls fail
// with Unavailable while it is away.
type Runtime struct {
	conn    *grpc.ClientConn
	images  runtimeapi.ImageServiceClient
	runtime runtimeapi.RuntimeServiceClient
}

// Dial prepares the connection to a CRI endpoint ("unix:///…"); it does not wait for the runtime.
func Dial(endpoint string) (*Runtime, error) {
	if !strings.HasPrefix(endpoint, "unix:///") {
		return nil, fmt.Errorf("runtime endpoint %q is not of the form unix:///path/to/socket", endpoint)
	}
	conn, err := grpc.NewClient(endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectDelay},
			MinConnectTimeout: reconnectDelay,
		}))
	if err != nil {
		return nil, fmt.Errorf("runtime endpoint %q: %w", endpoint, err)
	}
	return &Runtime{
		conn:    conn,
		images:  runtimeapi.NewImageServiceClient(conn),
		runtime: runtimeapi.NewRuntimeServiceClient(conn),
	}, nil
}

// Close ends the connection and every call on it.
func (r *Runtime) Close() error { return r.conn.Close() }

// Ready returns nil if the runtime answers.
func (r *Runtime) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if _, err := r.runtime.Version(ctx, &runtimeapi.VersionRequest{}); err != nil {
		return fmt.Errorf("the container runtime at %s does not answer: %w", r.conn.Target(), err)
	}
	return nil
}

// Version returns the runtime's version as it reports it.
func (r *Runtime) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	answer, err := r.runtime.Version(ctx, &runtimeapi.VersionRequest{})
	return answer.GetRuntimeVersion(), err
}

// image returns what the runtime knows of an image, nil if it does not hold it.
func (r *Runtime) image(ctx context.Context, image string) (*runtimeapi.Image, error) {
	answer, err := r.images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: image}})
	return answer.GetImage(), err
}

// all returns every image that the runtime holds.
func (r *Runtime) all(ctx context.Context) ([]*runtimeapi.Image, error) {
	answer, err := r.images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	return answer.GetImages(), err
}

// remove removes an image from the runtime's store.
func (r *Runtime) remove(ctx context.Context, image string) error {
	_, err := r.images.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: image}})
	return err
}

// pull blocks until the runtime has pulled the image. The namespace is that of the pod; CRI-O chooses its signature policy
// and its credentials by it. Empty is no namespace.
func (r *Runtime) pull(ctx context.Context, image, namespace string, auth *runtimeapi.AuthConfig) error {
	request := &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: image}, Auth: auth}
	if namespace != "" {
		request.SandboxConfig = &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Namespace: namespace}}
	}
	_, err := r.images.PullImage(ctx, request)
	return err
}
