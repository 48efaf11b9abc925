package containerd

import (
	"context"
	"sync"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// Find implements imagestore.Store. It finds what Pin has pinned since the process started: the image, the lease and
// the snapshot are asked for at once, and the answers are containerd's. What is remembered only tells what to ask for.
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
	var snapshotter string
	asking.Go(func() error {
		lease, err := s.lease(ctx, last.tree)
		snapshotter = lease.Labels[snapshotterLabel]
		return err
	})
	asking.Go(func() (err error) {
		tree, err = s.viewed(ctx, last.tree, last.snapshotter)
		return err
	})
	if err := asking.Wait(); err != nil || now != last.image || snapshotter != last.snapshotter {
		return imagestore.Tree{}, false
	}
	return tree, true
}

// sight is what an image was when it was last pinned. A digest stands for one content and so for one tree, for ever.
type sight struct {
	image       digest.Digest // of the manifest or index
	tree        digest.Digest
	snapshotter string // that keeps the pin
}

// maxSeen bounds the memory; few nodes hold more images.
const maxSeen = 1000

// memory holds the last sight of images by their reference. The zero value is ready.
type memory struct {
	mu     sync.Mutex
	sights map[string]sight
	latest string // snapshotter of the last note
}

// snapshotter is the one that kept the latest pin, which most likely has the next image, too. Empty before the first.
func (m *memory) snapshotter() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.latest
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
	m.latest = s.snapshotter
}
