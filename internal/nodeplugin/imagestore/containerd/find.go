package containerd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// findTimeout bounds Find, after which others may ask. containerd answers in a millisecond.
const findTimeout = 10 * time.Second

// Find implements imagestore.Store.
func (s *Store) Find(ctx context.Context, ref string) imagestore.PinFunc {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	found, err := s.look(ctx, ref)
	if err != nil {
		return nil
	}
	return found.pin
}

// found is what containerd holds under a reference.
type found struct {
	store *Store
	ref   string
	image client.Image
	tree  digest.Digest

	pinned *imagestore.Tree // nil if it is not known to be
	keeper string           // of the pin
}

// look finds an image, having written nothing. Of one that was pinned before, the image and its pin are asked for at
// once, and the answers are containerd's: what is remembered only tells what to ask for.
func (s *Store) look(ctx context.Context, ref string) (found, error) {
	last, known := s.seen.of(ref)
	var pinned imagestore.Tree
	var pinErr error
	var asking errgroup.Group
	if known {
		asking.Go(func() error {
			pinned, pinErr = s.stillPinned(ctx, last)
			return nil
		})
	}
	image, err := s.image(ctx, ref)
	_ = asking.Wait()
	if err != nil {
		return found{}, err
	}
	f := found{store: s, ref: ref, image: image, tree: last.tree}
	switch {
	case !known || last.image != image.Target().Digest:
		f.tree, err = topLayer(ctx, image)
	case pinErr == nil:
		f.pinned, f.keeper = &pinned, last.keeper
	}
	return f, err
}

// stillPinned reads the tree of an image that was pinned when it was last seen. Both calls have to find it: a view
// without the lease is about to be collected.
func (s *Store) stillPinned(ctx context.Context, last sight) (imagestore.Tree, error) {
	var asking errgroup.Group
	asking.Go(func() error {
		keepers, err := s.keepers(ctx, last.tree)
		if err == nil && !slices.Contains(keepers, last.keeper) {
			err = errdefs.ErrNotFound
		}
		return err
	})
	tree, err := s.viewed(ctx, last.tree, last.keeper)
	return tree, errors.Join(err, asking.Wait())
}

// pin is an imagestore.PinFunc.
func (f found) pin(ctx context.Context) (imagestore.Tree, error) {
	if f.pinned != nil {
		return *f.pinned, nil
	}
	tree, keeper, err := f.store.pin(namespaces.WithNamespace(ctx, kubernetesNamespace), f.image, f.tree)
	if err != nil {
		return imagestore.Tree{}, fmt.Errorf("pinning image %s in containerd: %w", f.ref, err)
	}
	f.store.seen.note(f.ref, sight{image: f.image.Target().Digest, tree: f.tree, keeper: keeper})
	return tree, nil
}
