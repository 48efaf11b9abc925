package containerd

import (
	"context"
	"fmt"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// maxBlob bounds what is read of an index, a manifest or a configuration. The image's author chooses their size, and they
// are read into memory. The largest known ones, of hundreds of layers and long histories, have some hundred KiB.
const maxBlob = 8 << 20

// blobs is a content.Provider of indexes, manifests and configurations, which it reads in one call each. containerd's own
// client asks for the size first; but the descriptor has it, and containerd checked the content against it at the pull.
type blobs struct{ conn grpc.ClientConnInterface }

// ReaderAt implements content.Provider.
func (b blobs) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if desc.Size > maxBlob {
		return nil, fmt.Errorf("%w: %s %s has %d bytes, and none larger than %d is read", imagestore.ErrUnsupported,
			desc.MediaType, desc.Digest, desc.Size, maxBlob)
	}
	client := contentapi.NewContentClient(b.conn)
	return proxy.NewContentStore(sized{client, max(0, desc.Size)}).ReaderAt(ctx, desc) //nolint:wrapcheck // ours to pass on
}

// sized is a content client that knows the size of its one blob.
type sized struct {
	contentapi.ContentClient
	size int64
}

// Info answers in containerd's place.
func (s sized) Info(_ context.Context, r *contentapi.InfoRequest, _ ...grpc.CallOption) (*contentapi.InfoResponse, error) {
	return &contentapi.InfoResponse{Info: &contentapi.Info{Digest: r.GetDigest(), Size: s.size}}, nil
}
