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

// findTimeout bounds Find, after which others may ask. containerd answers in a millisecond.
const findTimeout = 10 * time.Second

// Find implements imagestore.Store.
func (s *Store) Find(ctx context.Context, ref string) (imagestore.PinFunc, string) {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	found, err := s.look(ctx, ref)
	if err != nil {
		return nil, ""
	}
	return found.pin, found.digest()
}

// found is what containerd holds under a reference.
type found struct {
	store *Store
	ref   string
	image client.Image
	tree  digest.Digest

	claimed *described       // what it says of its layers, still to be compared; nil of an image that this process has pinned
	pinned  *imagestore.Tree // nil if it is not known to be
}

// look finds an image, having written nothing. Of one that this process has pinned, the image and its pin are asked for
// at once; of any other it reads what the image says of its layers. Whether that is right is asked when it is pinned.
func (s *Store) look(ctx context.Context, ref string) (found, error) {
	last, pin, known := s.cache.of(ref)
	f := found{store: s, ref: ref, tree: last.tree}
	var asking errgroup.Group
	if pin.snapshotter != "" {
		asking.Go(func() error {
			if tree, err := s.stillPinned(ctx, last, pin); err == nil {
				f.pinned = &tree
			}
			return nil
		})
	}
	var err error
	f.image, err = s.image(ctx, ref)
	_ = asking.Wait()
	if err == nil && (!known || last.image != f.image.Target().Digest) {
		var claimed described
		if claimed, err = s.layers(ctx, f.image); err == nil {
			f.pinned, f.claimed, f.tree = nil, &claimed, claimed.tree()
		}
	}
	return f, err
}

// stillPinned returns the tree of a view that is there still. Its layers are read once.
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

// digest is that of the manifest or index to which the reference leads.
func (f found) digest() string { return f.image.Target().Digest.String() }

// pin is an imagestore.PinFunc.
func (f found) pin(ctx context.Context) (imagestore.Tree, error) {
	tree, err := f.pinTree(ctx)
	tree.Digest = f.digest()
	return tree, err
}

func (f found) pinTree(ctx context.Context) (imagestore.Tree, error) {
	if f.pinned != nil && f.store.cache.keeps(f.tree) {
		return *f.pinned, nil
	}
	tree, err := f.store.pin(namespaces.WithNamespace(ctx, kubernetesNamespace), f)
	if err != nil {
		return imagestore.Tree{}, fmt.Errorf("pinning image %s in containerd: %w", f.ref, imagestore.Refused(f.ref, err))
	}
	return tree, nil
}
