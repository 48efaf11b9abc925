package containerd

import (
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// lookup is what an image was when it was last pinned. A digest stands for one content, and so for one tree, for ever.
type lookup struct {
	image digest.Digest // of the manifest or index
	tree  digest.Digest
}

// cachedPin is a pin as it was last read. A snapshot's layers never change, so one of the same name and time has the same.
type cachedPin struct {
	tree        imagestore.Tree
	snapshotter string    // that has the pin; empty if the tree was unpinned
	created     time.Time // of the snapshot whose layers the tree has; zero before they were read
}

// maxCached bounds the cache; few nodes hold more images that are volumes.
const maxCached = 200

// cache holds what this process looked up last. It is no record of what exists: it only saves questions to containerd. The
// zero value is ready.
type cache struct {
	mu      sync.Mutex
	lookups map[string]lookup // by reference
	pins    map[digest.Digest]cachedPin
	latest  string // snapshotter of the latest pin, which most likely has the next image, too
}

// get returns the last lookup of an image, and its pin, whose snapshotter is empty if it was unpinned since.
func (c *cache) get(ref string) (last lookup, pin cachedPin, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok = c.lookups[ref]
	return last, c.pins[last.tree], ok
}

// latestSnapshotter returns the snapshotter of the latest pin. It is empty before the first one, and after that snapshotter
// failed.
func (c *cache) latestSnapshotter() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}

// forget drops a snapshotter that has failed.
func (c *cache) forget(snapshotter string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.latest == snapshotter {
		c.latest = ""
	}
}

// pinned records that an image was looked up and its tree pinned.
func (c *cache) pinned(ref string, s lookup, pin cachedPin) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lookups == nil || len(c.lookups) >= maxCached {
		c.lookups, c.pins = map[string]lookup{}, map[digest.Digest]cachedPin{}
	}
	c.lookups[ref], c.pins[s.tree], c.latest = s, pin, pin.snapshotter
}

// read records what was read of a pin, unless the tree is being unpinned since.
func (c *cache) read(tree digest.Digest, pin cachedPin) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pins[tree].snapshotter != "" {
		c.pins[tree] = pin
	}
}

// keeps reports whether this process has pinned a tree and has not begun to unpin it.
func (c *cache) keeps(tree digest.Digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pins[tree].snapshotter != ""
}

// unpinned records that a tree is being unpinned: what was read of its pin is no longer valid.
func (c *cache) unpinned(tree digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.pins[tree]; known {
		c.pins[tree] = cachedPin{}
	}
}
