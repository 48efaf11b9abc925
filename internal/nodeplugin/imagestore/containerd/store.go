package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/keyed"
)

// kubernetesNamespace is the containerd namespace that the kubelet's images live in.
const kubernetesNamespace = "k8s.io"

// Config says which containerd to use and in whose name.
type Config struct {
	// Endpoint is containerd's socket, as a path or a unix:// URL. Its directory, not the socket itself, should be
	// mounted into a container, since a restarted containerd makes a new socket.
	Endpoint string

	// Driver is the CSI driver name that pins are made for.
	Driver string

	// OtherPlatforms says what becomes of images that are not for the node's platform. Empty stands for RefuseOthers.
	OtherPlatforms imagestore.OtherPlatforms

	// Logger receives what happened to pins; nil is silence.
	Logger *slog.Logger
}

// Store implements imagestore.Store. Its methods may be called at the same time. The connection is made with the
// first call and made again after containerd was restarted.
type Store struct {
	client *client.Client
	driver string
	others imagestore.OtherPlatforms
	logger *slog.Logger
	trees  keyed.Lock
	seen   memory
}

var _ imagestore.Store = (*Store)(nil)

// Open prepares a store. It does not wait for containerd.
func Open(config Config) (*Store, error) {
	if config.Driver == "" {
		return nil, errors.New("opening containerd's image store: no driver name")
	}
	path := strings.TrimPrefix(config.Endpoint, "unix://")
	c, err := client.New(path, client.WithDefaultNamespace(kubernetesNamespace))
	if err != nil {
		return nil, fmt.Errorf("opening containerd's image store at %s: %w", path, err)
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store{client: c, driver: config.Driver, others: config.OtherPlatforms, logger: config.Logger}, nil
}

// Close ends the connection. Pins stay.
func (s *Store) Close() error { return s.client.Close() }

// Pin implements imagestore.Store.
func (s *Store) Pin(ctx context.Context, ref string) (imagestore.Tree, error) {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	found, err := s.look(ctx, ref)
	if err != nil {
		return imagestore.Tree{}, err
	}
	return found.pin(ctx)
}

// image finds an image by the names under which CRI stores it: a reference with tag and digest counts by its digest.
func (s *Store) image(ctx context.Context, ref string) (client.Image, error) {
	found, err := s.client.ImageService().Get(ctx, ref)
	if errors.Is(err, errdefs.ErrNotFound) {
		if named, parseErr := reference.ParseDockerRef(ref); parseErr == nil && named.String() != ref {
			found, err = s.client.ImageService().Get(ctx, named.String())
		}
	}
	switch {
	case errors.Is(err, errdefs.ErrNotFound):
		return nil, fmt.Errorf("%w: containerd has no %s", imagestore.ErrNotFound, ref)
	case err != nil:
		return nil, fmt.Errorf("asking containerd for image %s: %w", ref, err)
	}
	return client.NewImage(s.client, found), nil
}

// topLayer returns the chain ID of the image's top layer: the name of its snapshot and of its tree.
func (s *Store) topLayer(ctx context.Context, image client.Image, told criImage) (digest.Digest, error) {
	if !images.IsIndexType(image.Target().MediaType) && !images.IsManifestType(image.Target().MediaType) {
		return "", fmt.Errorf("%w: %s is not an image but %q", imagestore.ErrUnsupported, image.Name(),
			image.Target().MediaType)
	}
	config, err := told.config, error(nil)
	if !told.of(image.Target().Digest) {
		config, err = s.config(ctx, image)
	}
	diffs := config.RootFS.DiffIDs
	switch {
	case errors.Is(err, errdefs.ErrNotFound):
		return "", fmt.Errorf("%w: %s lacks its manifest or configuration for this platform: %w",
			imagestore.ErrNotFound, image.Name(), err)
	case err != nil:
		return "", fmt.Errorf("reading the layers of image %s: %w", image.Name(), err)
	case len(diffs) == 0:
		return "", fmt.Errorf("%w: %s has no layers", imagestore.ErrUnsupported, image.Name())
	case len(diffs) > imagestore.MaxLayers:
		// Before a costly unpack, although a snapshotter with full copies could show it.
		return "", fmt.Errorf("%w: %s has %d layers, and the kernel stacks at most %d; flatten the image",
			imagestore.ErrUnsupported, image.Name(), len(diffs), imagestore.MaxLayers)
	}
	if err := s.others.Check(config.Platform); err != nil {
		return "", fmt.Errorf("image %s: %w", image.Name(), err)
	}
	return identity.ChainID(diffs), nil
}

// config reads an image's configuration for this platform.
func (s *Store) config(ctx context.Context, image client.Image) (config ocispec.Image, err error) {
	conn, err := s.conn()
	if err != nil {
		return config, err
	}
	manifest, err := images.Manifest(ctx, blobs{conn}, image.Target(), image.Platform())
	if err != nil {
		return config, err //nolint:wrapcheck // topLayer says what it means
	}
	text, err := content.ReadBlob(ctx, blobs{conn}, manifest.Config)
	if err != nil {
		return config, err //nolint:wrapcheck // as above
	}
	err = json.Unmarshal(text, &config)
	if err == nil && len(config.RootFS.DiffIDs) == 0 && len(manifest.Layers) > 0 {
		err = fmt.Errorf("%w: an OCI artifact, whose layers are no file system; push its files as a container image",
			imagestore.ErrUnsupported)
	}
	return config, err
}

// conn is the connection to containerd, which offers more than its client does.
func (s *Store) conn() (grpc.ClientConnInterface, error) {
	conn, ok := s.client.Conn().(grpc.ClientConnInterface)
	if !ok {
		return nil, errors.New("the containerd client has no gRPC connection")
	}
	return conn, nil
}

// snapshotter returns a snapshot service by name.
func (s *Store) snapshotter(name string) snapshots.Snapshotter {
	return s.client.SnapshotService(name)
}
