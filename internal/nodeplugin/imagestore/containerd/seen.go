package containerd

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// sight is what an image was when it was last pinned. A digest stands for one content and so for one tree, for ever.
type sight struct {
	image  digest.Digest // of the manifest or index
	tree   digest.Digest
	keeper string // the snapshotter that keeps the pin
}

// maxSeen bounds the memory; few nodes hold more images.
const maxSeen = 1000

// memory holds the last sight of images by their reference. The zero value is ready.
type memory struct {
	mu     sync.Mutex
	sights map[string]sight
	latest string // keeper of the last note
}

// keeper is that of the latest pin, which most likely has the next image, too. Empty before the first.
func (m *memory) keeper() string {
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
	m.latest = s.keeper
}
