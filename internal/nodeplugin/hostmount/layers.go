package hostmount

import (
	"errors"
	"fmt"
	"hash/maphash"
	"path"
	"sync"

	"golang.org/x/sys/unix"
)

// maxPlain bounds the cache; few nodes mount more images.
const maxPlain = 1024

// plainLayers caches the stacks of layers that were checked. The zero value is ready.
type plainLayers struct {
	mu     sync.Mutex
	seed   maphash.Seed
	stacks map[uint64]struct{} // by their hash
}

// check fails with ErrBadLayer for a layer that is not of its form, or whose name leads through a symbolic link. It
// looks at a stack once. The kernel then takes layers by their names: with descriptors, every line of the mount table would
// have each layer's whole path, and every reader of it, the kubelet first, several times as much to read.
func (p *plainLayers) check(form Form, layers []string) error {
	stack, seen := p.seen(form, layers)
	if seen {
		return nil
	}
	var roots rootCache
	defer roots.close()
	for _, layer := range layers {
		if err := roots.look(form, path.Clean(layer)); err != nil {
			return fmt.Errorf("looking at layer %s: %w", layer, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.stacks) >= maxPlain {
		clear(p.stacks)
	}
	p.stacks[stack] = struct{}{}
	return nil
}

func (p *plainLayers) seen(form Form, layers []string) (stack uint64, seen bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stacks == nil {
		p.seed, p.stacks = maphash.MakeSeed(), map[uint64]struct{}{}
	}
	var hash maphash.Hash
	hash.SetSeed(p.seed)
	_, _ = fmt.Fprintf(&hash, "%T", form)
	for _, layer := range layers {
		_ = hash.WriteByte(0)
		_, _ = hash.WriteString(layer)
	}
	_, seen = p.stacks[hash.Sum64()]
	return hash.Sum64(), seen
}

// rootCache holds the directory that the latest layer lies beneath, which is usually that of all layers.
type rootCache struct {
	path string
	fd   int
}

// look looks at one layer beneath the directory in which the runtime keeps layers. Its names there are the last two, as
// "<id>/fs", "<id>/diff" or "snapshots/<id>"; to it the administrator may have put links.
func (r *rootCache) look(form Form, layer string) error {
	dir, name := path.Split(layer)
	dir, id := path.Split(path.Clean(dir))
	dir = path.Clean(dir)
	if dir != r.path {
		r.close()
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		r.path, r.fd = dir, fd
	}
	err := form.look(r.fd, path.Join(id, name))
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("%w: it is not what its runtime makes, or a part of its name is a symbolic link: %w", ErrBadLayer, err)
	}
	return err
}

func (r *rootCache) close() {
	if r.path != "" {
		closeFD(r.fd)
	}
	r.path = ""
}
