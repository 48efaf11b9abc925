package containerd

import (
	"context"
	"sync"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// Find implements imagestore.Store. It finds what Pin has pinned since the process started: the image and the pin are
// asked for at once, and the answers are containerd's. What is remembered only tells which pin to ask for.
func (s *Store) Find(ctx context.Context, ref string) (tree imagestore.Tree, found bool) {
	last, ok := s.seen.of(ref)
	if !ok {
		return imagestore.Tree{}, false
	}
	asking, ctx := errgroup.WithContext(namespaces.WithNamespace(ctx, kubernetesNamespace))
	var now digest.Digest
	asking.Go(func() error {
		image, err := s.image(ctx, ref)
		if err == nil {
			now = image.Target().Digest
		}
		return err
	})
	asking.Go(func() (err error) {
		tree, err = s.pinned(ctx, last.tree)
		return err
	})
	if err := asking.Wait(); err != nil || now != last.image {
		return imagestore.Tree{}, false
	}
	return tree, true
}

// sight is what an image was when it was last pinned. A digest stands for one content and so for one tree, for ever.
type sight struct {
	image digest.Digest // of the manifest or index
	tree  digest.Digest
}

// maxSeen bounds the memory; few nodes hold more images.
const maxSeen = 1000

// memory holds the last sight of images by their reference. The zero value is ready.
type memory struct {
	mu     sync.Mutex
	sights map[string]sight
}

func (m *memory) of(ref string) (last sight, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, ok = m.sights[ref]
	return last, ok
}

func (m *memory) note(ref string, s sight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sights == nil || len(m.sights) >= maxSeen {
		m.sights = map[string]sight{}
	}
	m.sights[ref] = s
}
