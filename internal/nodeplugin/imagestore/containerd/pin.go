package containerd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// Labels of a view, beside the driver's.
const (
	rootLabel  = "containerd.io/gc.root"   // keeps it from containerd's garbage collector; the legacy driver does so, too
	treeLabel  = contract.Prefix + "tree"  // the tree's ID
	imageLabel = contract.Prefix + "image" // the image it was first pinned for, for administrators

	digestLabel = contract.Prefix + "digest" // that image's
)

// undoTimeout bounds the clean-up after a failure, which must not end with the caller's deadline.
const undoTimeout = 10 * time.Second

// viewName is the name of a tree's View snapshot.
func (s *Store) viewName(tree digest.Digest) string {
	return "imagecsi-" + s.driver + "-" + tree.Encoded()
}

// viewed reads a tree's view; errdefs.ErrNotFound if the snapshotter has none.
func (s *Store) viewed(ctx context.Context, tree digest.Digest, snapshotter string) (imagestore.Tree, error) {
	mounts, err := s.snapshotter(snapshotter).Mounts(ctx, s.viewName(tree))
	if err != nil {
		return imagestore.Tree{}, fmt.Errorf("reading the layers of %s from snapshotter %s: %w", tree, snapshotter, err)
	}
	return treeOf(snapshotter, tree, mounts)
}

// created returns when a tree's view was made, which costs less than its layers; errdefs.ErrNotFound if the snapshotter has none.
func (s *Store) created(ctx context.Context, tree digest.Digest, snapshotter string) (time.Time, error) {
	info, err := s.snapshotter(snapshotter).Stat(ctx, s.viewName(tree))
	if err != nil {
		return time.Time{}, fmt.Errorf("looking for the view of %s in snapshotter %s: %w", tree, snapshotter, err)
	}
	return info.Created, nil
}

// pin pins a tree unless it is pinned.
func (s *Store) pin(ctx context.Context, c candidate) (imagestore.Tree, error) {
	unlock, err := s.trees.Lock(ctx, c.tree.String())
	if err != nil {
		return imagestore.Tree{}, err
	}
	defer unlock()
	tree, snapshotter, err := s.viewAnywhere(ctx, c.image, c.tree)
	if err != nil {
		return imagestore.Tree{}, err
	}
	s.cache.pinned(c.ref, lookup{image: c.image.Target().Digest, tree: c.tree}, cachedPin{snapshotter: snapshotter})
	return tree, nil
}

// pinLikely pins the tree that CRI names for an image, if it is the image's. Otherwise it pins the image's own tree, unless the
// image is refused.
func (s *Store) pinLikely(ctx context.Context, c candidate) (imagestore.Tree, error) {
	likely, err := s.viewLikely(ctx, &c)
	if errors.Is(err, errUnmeasured) {
		err = s.unpackUnmeasured(ctx, c.image, c.tree, err)
		if err == nil {
			c.tree, err = s.topLayer(ctx, c.image)
		}
	}
	if err != nil {
		return imagestore.Tree{}, err
	}
	if likely != nil {
		return *likely, nil
	}
	return s.pin(ctx, c)
}

// viewLikely makes the view of the tree that CRI names, and meanwhile reads and checks what the image claims of its layers, which
// becomes c.tree: containerd writes to its disk to make a view, so that takes longer. It returns nil if the two differ or there
// is no view. Then, and if the image is refused, a view that was made is removed: nothing was mounted from it yet.
func (s *Store) viewLikely(ctx context.Context, c *candidate) (*imagestore.Tree, error) {
	unlock, err := s.trees.Lock(ctx, c.likely.String())
	if err != nil {
		return nil, err
	}
	defer unlock()
	var checking errgroup.Group
	checking.Go(func() (err error) {
		c.tree, err = s.topLayer(ctx, c.image)
		return err
	})
	snapshotter := s.cache.latestSnapshotter()
	tree, made, viewErr := s.view(ctx, c.image, c.likely, snapshotter)
	err = checking.Wait()
	if err == nil && viewErr == nil && c.tree == c.likely {
		s.cache.pinned(c.ref, lookup{image: c.image.Target().Digest, tree: c.tree}, cachedPin{snapshotter: snapshotter})
		return &tree, nil
	}
	if made {
		s.cache.unpinned(c.likely) // the view of another image may have been lost, and a lookup for it may have found this one
		err = errors.Join(err, s.undoView(ctx, c.likely, snapshotter))
	}
	return nil, err
}

// viewAnywhere makes the view in the snapshotter that has the layers, and unpacks them if none has. It tries the
// snapshotter of the latest pin first, because that most likely has them. If that fails for any reason, it asks the others
// as for a first pin.
func (s *Store) viewAnywhere(ctx context.Context, image client.Image, tree digest.Digest) (made imagestore.Tree, snapshotter string, err error) {
	snapshotter = s.cache.latestSnapshotter()
	if snapshotter != "" {
		made, _, err = s.view(ctx, image, tree, snapshotter)
		if err == nil || ctx.Err() != nil {
			return made, snapshotter, err
		}
		s.cache.forget(snapshotter)
	}
	snapshotter, unpacked, err := s.locate(ctx, tree)
	if err != nil {
		return imagestore.Tree{}, "", err
	}
	if unpacked {
		made, _, err = s.view(ctx, image, tree, snapshotter)
		if !errors.Is(err, errdefs.ErrNotFound) {
			return made, snapshotter, err
		}
		// The garbage collector removed the layers after that look.
	}
	if err := unpack(ctx, image, snapshotter); err != nil {
		return imagestore.Tree{}, "", err
	}
	made, _, err = s.view(ctx, image, tree, snapshotter)
	return made, snapshotter, err
}

// view returns the tree's view, and whether it made it because there was none, which pins the layers from its first moment. It
// asks by making it: containerd writes nothing if there is one. A view that was made and is useless is removed. What a call
// without an answer has made stays for the sweep, because another call may use it by now.
func (s *Store) view(ctx context.Context, image client.Image, id digest.Digest, snapshotter string) (tree imagestore.Tree, made bool, err error) {
	mounts, err := s.snapshotter(snapshotter).View(ctx, s.viewName(id), id.String(), s.labels(id, image))
	if errors.Is(err, errdefs.ErrAlreadyExists) {
		tree, err = s.viewed(ctx, id, snapshotter)
		return tree, false, err
	}
	if err != nil {
		return imagestore.Tree{}, false, fmt.Errorf("making a view of %s with snapshotter %s: %w", id, snapshotter, err)
	}
	if tree, err = treeOf(snapshotter, id, mounts); err != nil {
		return imagestore.Tree{}, false, errors.Join(err, s.undoView(ctx, id, snapshotter))
	}
	s.logger.Info("pinned image", "image", image.Name(), "tree", id, "snapshotter", snapshotter)
	return tree, true, nil
}

// undoView removes a view that was just made, also after the caller's deadline.
func (s *Store) undoView(ctx context.Context, tree digest.Digest, snapshotter string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return s.removeView(ctx, tree, snapshotter)
}

// labels returns the labels of a tree's view. The image is the one for which it is made; nil if that is not known.
func (s *Store) labels(tree digest.Digest, image client.Image) snapshots.Opt {
	labels := map[string]string{rootLabel: s.driver, contract.DriverLabel: s.driver, treeLabel: tree.String()}
	if image != nil {
		labels[imageLabel], labels[digestLabel] = image.Name(), image.Target().Digest.String()
	}
	return snapshots.WithLabels(labels)
}

// everywhere runs f with the snapshotters that work, and with the tree's lock held.
func (s *Store) everywhere(ctx context.Context, treeID string, f func(ctx context.Context, tree digest.Digest, snapshotters []string) error) error {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	tree, err := digest.Parse(treeID)
	if err != nil {
		return fmt.Errorf("tree %q: %w", treeID, err)
	}
	unlock, err := s.trees.Lock(ctx, treeID)
	if err != nil {
		return err
	}
	defer unlock()
	snapshotters, err := s.working(ctx)
	if err != nil {
		return err
	}
	return f(ctx, tree, snapshotters)
}

// Repin implements imagestore.Store.
func (s *Store) Repin(ctx context.Context, treeID string) error {
	return s.everywhere(ctx, treeID, s.viewAgain)
}

// viewAgain makes a view in every snapshotter that has a tree's layers, because it is not known which one gave them to a mount.
func (s *Store) viewAgain(ctx context.Context, tree digest.Digest, snapshotters []string) error {
	held := false
	var errs []error
	for _, snapshotter := range snapshotters {
		_, err := s.snapshotter(snapshotter).View(ctx, s.viewName(tree), tree.String(), s.labels(tree, nil))
		switch {
		case err == nil, errors.Is(err, errdefs.ErrAlreadyExists):
			held = true
		case !errors.Is(err, errdefs.ErrNotFound):
			errs = append(errs, fmt.Errorf("making a view of %s again with snapshotter %s: %w", tree, snapshotter, err))
		}
	}
	if !held && len(errs) == 0 {
		return fmt.Errorf("%w: no snapshotter of containerd has the layers of tree %s", imagestore.ErrNotFound, tree)
	}
	return errors.Join(errs...)
}

// unpack turns the image's stored archives into snapshots, which the image keeps. Archives that containerd removed
// after an earlier unpack have to be pulled again.
func unpack(ctx context.Context, image client.Image, snapshotter string) error {
	err := image.Unpack(ctx, snapshotter)
	switch {
	case errors.Is(err, errdefs.ErrNotFound):
		return fmt.Errorf("%w: the layers of %s are neither unpacked nor stored: %w",
			imagestore.ErrNotFound, image.Name(), err)
	case errors.Is(err, errdefs.ErrUnavailable) || ctx.Err() != nil:
		return fmt.Errorf("unpacking with snapshotter %s: %w", snapshotter, err)
	case err != nil:
		return fmt.Errorf("%w: containerd cannot unpack %s with snapshotter %s: %w", imagestore.ErrUnsupported, image.Name(), snapshotter, err)
	}
	return nil
}

// Pinned implements imagestore.Store.
func (s *Store) Pinned(ctx context.Context, treeID string) (imagestore.Tree, error) {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	tree, err := digest.Parse(treeID)
	if err != nil {
		return imagestore.Tree{}, fmt.Errorf("looking for pinned tree %q: %w", treeID, err)
	}
	snapshotters, err := s.working(ctx)
	if err != nil {
		return imagestore.Tree{}, fmt.Errorf("reading pinned tree %s from containerd: %w", treeID, err)
	}
	var errs []error
	for _, snapshotter := range snapshotters {
		found, err := s.viewed(ctx, tree, snapshotter)
		switch {
		case err == nil:
			return found, nil
		case !errors.Is(err, errdefs.ErrNotFound):
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return imagestore.Tree{}, fmt.Errorf("reading pinned tree %s from containerd: %w", treeID, err)
	}
	return imagestore.Tree{}, fmt.Errorf("%w: containerd holds no pin of tree %s", imagestore.ErrNotFound, treeID)
}

// Pins implements imagestore.Store.
func (s *Store) Pins(ctx context.Context) ([]string, error) {
	pinned, err := s.PinnedImages(ctx)
	var trees []string
	for _, p := range pinned {
		trees = append(trees, p.Tree)
	}
	return trees, err
}

// PinnedImages implements imagestore.Store.
func (s *Store) PinnedImages(ctx context.Context) ([]imagestore.PinnedImage, error) {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	snapshotters, err := s.working(ctx)
	if err != nil {
		return nil, err
	}
	var pinned []imagestore.PinnedImage
	known := map[string]bool{}
	for _, snapshotter := range snapshotters {
		err := s.snapshotter(snapshotter).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			if tree := info.Labels[treeLabel]; tree != "" && !known[tree] {
				known[tree] = true
				pinned = append(pinned, imagestore.PinnedImage{Tree: tree, Image: info.Labels[imageLabel], Digest: info.Labels[digestLabel]})
			}
			return nil
		}, fmt.Sprintf("labels.%q==%q", contract.DriverLabel, s.driver))
		if err != nil {
			return nil, fmt.Errorf("listing the pins of %s in snapshotter %s: %w", s.driver, snapshotter, err)
		}
	}
	return pinned, nil
}
