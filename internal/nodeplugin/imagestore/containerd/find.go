package containerd

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// findTimeout bounds Find. containerd answers in a millisecond.
const findTimeout = 10 * time.Second

// Find implements imagestore.Store.
func (s *Store) Find(ctx context.Context, ref string) (imagestore.PinFunc, string) {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	found, err := s.findCandidate(ctx, ref)
	if err != nil {
		return nil, ""
	}
	return found.pin, found.digest()
}

// candidate is what containerd holds under a reference.
type candidate struct {
	store *Store
	ref   string
	image client.Image
	tree  digest.Digest

	pinned *imagestore.Tree // nil if it is not known to be
	likely digest.Digest    // the tree by CRI, if tree is empty because the image's claim was not read yet
}

// findCandidate finds an image and writes nothing. For an image that this process has pinned, it asks for the image and its pin at
// the same time. For any other it asks for the image and its likely tree, which pin checks. Without one it reads what the image
// claims of its layers, and checks the claim. With errUnmeasured it returns what it found.
func (s *Store) findCandidate(ctx context.Context, ref string) (candidate, error) {
	last, pin, known := s.cache.get(ref)
	c := candidate{store: s, ref: ref, tree: last.tree}
	var asking errgroup.Group
	switch {
	case pin.snapshotter != "":
		asking.Go(func() error {
			if tree, err := s.stillPinned(ctx, last, pin); err == nil {
				c.pinned = &tree
			}
			return nil
		})
	case !known && s.cache.latestSnapshotter() != "":
		asking.Go(func() error {
			c.likely = s.likelyTree(ctx, ref)
			return nil
		})
	}
	var err error
	c.image, err = s.image(ctx, ref)
	_ = asking.Wait()
	if err == nil && (!known || last.image != c.image.Target().Digest) {
		c.pinned, c.tree = nil, ""
		if c.likely == "" {
			c.tree, err = s.topLayer(ctx, c.image)
		}
	}
	return c, err
}

// stillPinned returns the tree of a view that still exists. Its layers are read once.
func (s *Store) stillPinned(ctx context.Context, last lookup, pin cachedPin) (imagestore.Tree, error) {
	created, err := s.created(ctx, last.tree, pin.snapshotter)
	if err != nil || created.Equal(pin.created) {
		return pin.tree, err
	}
	tree, err := s.viewed(ctx, last.tree, pin.snapshotter)
	if err == nil {
		s.cache.read(last.tree, cachedPin{tree, pin.snapshotter, created})
	}
	return tree, err
}

// digest returns the digest of the manifest or index to which the reference leads.
func (c candidate) digest() string { return c.image.Target().Digest.String() }

// pin is an imagestore.PinFunc.
func (c candidate) pin(ctx context.Context) (imagestore.Tree, error) {
	tree, err := c.pinTree(ctx)
	tree.Digest = c.digest()
	return tree, err
}

func (c candidate) pinTree(ctx context.Context) (imagestore.Tree, error) {
	if c.pinned != nil && c.store.cache.keeps(c.tree) {
		return *c.pinned, nil
	}
	pin := c.store.pin
	if c.tree == "" {
		pin = c.store.pinLikely
	}
	tree, err := pin(namespaces.WithNamespace(ctx, kubernetesNamespace), c)
	if err != nil {
		return imagestore.Tree{}, fmt.Errorf("pinning image %s in containerd: %w", c.ref, imagestore.Refused(c.ref, err))
	}
	return tree, nil
}
