package containerd

import (
	"context"
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
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/keylock"
)

// kubernetesNamespace is the containerd namespace of the kubelet's images.
const kubernetesNamespace = "k8s.io"

// Config selects the containerd and the driver.
type Config struct {
	// Endpoint is containerd's socket, as a path or a unix:// URL. Its directory, not the socket itself, should be
	// mounted into a container, since a restarted containerd makes a new socket.
	Endpoint string

	// Driver is the CSI driver name that pins are made for.
	Driver string

	// OtherPlatforms selects what happens to images for other platforms. Empty stands for OtherPlatformsRefuse.
	OtherPlatforms contract.OtherPlatforms

	// ProvenOnly refuses images with a layer that containerd has not measured. Where tenants do not trust each other, such a
	// layer may be another tenant's.
	ProvenOnly bool

	// Logger receives what happened to pins; nil is silence.
	Logger *slog.Logger
}

// Store implements imagestore.Store. Its methods may be called at the same time. The connection is made with the
// first call and made again after containerd was restarted.
type Store struct {
	client       *client.Client
	driver       string
	others       contract.OtherPlatforms
	provenOnly   bool
	logger       *slog.Logger
	trees        keylock.Lock
	cache        cache
	measurements measurements // of layers
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
	return &Store{client: c, driver: config.Driver, others: config.OtherPlatforms, provenOnly: config.ProvenOnly, logger: config.Logger}, nil
}

// Close ends the connection. Pins stay.
func (s *Store) Close() error { return s.client.Close() }

// Pin implements imagestore.Store.
func (s *Store) Pin(ctx context.Context, ref string) (imagestore.Tree, error) {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	found, err := s.findCandidate(ctx, ref)
	if errors.Is(err, errUnmeasured) {
		err = s.unpackUnmeasured(ctx, found.image, found.tree, err)
		if err == nil {
			found, err = s.findCandidate(ctx, ref)
		}
	}
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

// topLayer returns the chain ID of the image's top layer. With an error that is errUnmeasured it returns it, too.
func (s *Store) topLayer(ctx context.Context, image client.Image) (digest.Digest, error) {
	d, err := s.describe(ctx, image)
	if err == nil {
		err = imagestore.CheckPlatform(s.others, d.platform)
	}
	if err != nil {
		return "", fmt.Errorf("reading the layers of image %s: %w", image.Name(), imagestore.Refused(image.Name(), err))
	}
	if err := s.checkMeasured(d); err != nil {
		return d.tree(), fmt.Errorf("comparing the layers of image %s with containerd's: %w", image.Name(), imagestore.Refused(image.Name(), err))
	}
	return d.tree(), nil
}

// describe reads an image's manifest and configuration for this platform, and what containerd has measured of the layers, which
// it asks for while it reads the configuration.
func (s *Store) describe(ctx context.Context, image client.Image) (described, error) {
	conn, err := s.conn()
	if err != nil {
		return described{}, err
	}
	kind := image.Target().MediaType
	if !images.IsIndexType(kind) && !images.IsManifestType(kind) {
		return described{}, fmt.Errorf("%w: it is no image but %.128q", imagestore.ErrUnsupported, kind)
	}
	manifest, err := images.Manifest(ctx, blobs{conn}, image.Target(), image.Platform())
	if err != nil {
		return described{}, unread(ctx, err)
	}
	layers := layersOf(manifest)
	var measured []digest.Digest
	var asking errgroup.Group
	asking.Go(func() (err error) {
		measured, err = s.measure(ctx, layers)
		return err
	})
	text, err := content.ReadBlob(ctx, blobs{conn}, manifest.Config)
	failed := asking.Wait()
	if err != nil {
		return described{}, unread(ctx, err)
	}
	d, err := describe(manifest, text)
	if err != nil {
		return described{}, err
	}
	d.measured = measured
	return d, failed
}

// unread classifies an error of reading an image's manifest or configuration. Unless containerd lacks them or does not
// answer, it is the image's own fault: text that is not JSON, or sizes that differ from the content's.
func unread(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, errdefs.ErrNotFound):
		return fmt.Errorf("%w: its manifest or configuration for this platform is missing: %w", imagestore.ErrNotFound, err)
	case errors.Is(err, errdefs.ErrUnavailable), ctx.Err() != nil, errors.Is(err, imagestore.ErrUnsupported):
		return fmt.Errorf("reading its manifest and configuration: %w", err)
	default:
		return fmt.Errorf("%w: its manifest or configuration cannot be read (%.256s); build and push it again", imagestore.ErrUnsupported, err.Error())
	}
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
