package containerd

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// sight is what an image was when it was last pinned. A digest stands for one content and so for one tree, for ever.
type sight struct {
	image digest.Digest // of the manifest or index
	tree  digest.Digest
}

// maxSeen bounds the memory; few nodes hold more images.
const maxSeen = 1000

// memory is what this process did last. It is no record of what there is: it only tells what to ask for. The zero value
// is ready.
type memory struct {
	mu      sync.Mutex
	sights  map[string]sight         // by reference
	keepers map[digest.Digest]string // of trees; empty of those that were unpinned
	latest  string                   // keeper of the latest pin, which most likely has the next image, too
}

// of returns the last sight of an image, and who kept its pin; empty if it was unpinned since.
func (m *memory) of(ref string) (last sight, keeper string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, ok = m.sights[ref]
	return last, m.keepers[last.tree], ok
}

// mayBePinned tells whether a tree has not been unpinned since it was last pinned, as far as this process knows.
func (m *memory) mayBePinned(tree digest.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	keeper, known := m.keepers[tree]
	return !known || keeper != ""
}

// latestKeeper is empty before the first pin.
func (m *memory) latestKeeper() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.latest
}

func (m *memory) pinned(ref string, s sight, keeper string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sights == nil || len(m.sights) >= maxSeen {
		m.sights, m.keepers = map[string]sight{}, map[digest.Digest]string{}
	}
	m.sights[ref], m.keepers[s.tree], m.latest = s, keeper, keeper
}

func (m *memory) unpinned(tree digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.keepers[tree]; known {
		m.keepers[tree] = ""
	}
}
