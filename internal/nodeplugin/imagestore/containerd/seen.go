package containerd

import (
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// sight is what an image was when it was last pinned. A digest stands for one content and so for one tree, for ever.
type sight struct {
	image digest.Digest // of the manifest or index
	tree  digest.Digest
}

// kept is a pin as it was last. A snapshot's layers never change, so one of the same name and time has the same.
type kept struct {
	tree    imagestore.Tree
	keeper  string    // the snapshotter; empty if the tree was unpinned
	created time.Time // of the snapshot whose layers the tree has; zero before they were read
}

// maxSeen bounds the memory; few nodes hold more images that are volumes.
const maxSeen = 200

// memory is what this process did last. It is no record of what there is: it only tells what to ask for. The zero value
// is ready.
type memory struct {
	mu     sync.Mutex
	sights map[string]sight // by reference
	pins   map[digest.Digest]kept
	latest string // keeper of the latest pin, which most likely has the next image, too
}

// of returns the last sight of an image, and its pin, whose keeper is empty if it was unpinned since.
func (m *memory) of(ref string) (last sight, pin kept, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, ok = m.sights[ref]
	return last, m.pins[last.tree], ok
}

// latestKeeper is empty before the first pin, and after a failure of the one that it was.
func (m *memory) latestKeeper() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.latest
}

// forget forgets a snapshotter that has failed.
func (m *memory) forget(keeper string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.latest == keeper {
		m.latest = ""
	}
}

func (m *memory) pinned(ref string, s sight, pin kept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sights == nil || len(m.sights) >= maxSeen {
		m.sights, m.pins = map[string]sight{}, map[digest.Digest]kept{}
	}
	m.sights[ref], m.pins[s.tree], m.latest = s, pin, pin.keeper
}

// read notes what was read of a pin, unless it is being unpinned since.
func (m *memory) read(tree digest.Digest, pin kept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pins[tree].keeper != "" {
		m.pins[tree] = pin
	}
}

// keeps reports whether this process has pinned a tree and has not begun to unpin it.
func (m *memory) keeps(tree digest.Digest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pins[tree].keeper != ""
}

// unpinned notes that a tree is being unpinned: whatever was read of its pin counts no more.
func (m *memory) unpinned(tree digest.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.pins[tree]; known {
		m.pins[tree] = kept{}
	}
}
