package containerd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// Labels of leases and snapshots. None is one of containerd's own gc labels: a lease is a root of its collector by
// itself, and what it names is kept exactly as long.
const (
	treeLabel        = contract.Prefix + "tree"        // the tree's ID
	imageLabel       = contract.Prefix + "image"       // the image it was first pinned for, for people
	snapshotterLabel = contract.Prefix + "snapshotter" // who keeps the View snapshot
)

// undoTimeout bounds the clean-up after a failure, which must not end with the caller's deadline.
const undoTimeout = 10 * time.Second

// pinName is the name of a tree's lease and of its View snapshot.
func (s *Store) pinName(tree digest.Digest) string {
	return "imagecsi-" + s.driver + "-" + tree.Encoded()
}

// pinned returns a tree that is pinned already, and who keeps it, having written nothing; errdefs.ErrNotFound if it is
// not, or not wholly.
func (s *Store) pinned(ctx context.Context, tree digest.Digest) (found imagestore.Tree, snapshotter string, err error) {
	lease, err := s.lease(ctx, tree)
	if err != nil {
		return imagestore.Tree{}, "", err
	}
	snapshotter = lease.Labels[snapshotterLabel]
	found, err = s.viewed(ctx, tree, snapshotter)
	return found, snapshotter, err
}

// viewed reads a tree's View snapshot.
func (s *Store) viewed(ctx context.Context, tree digest.Digest, snapshotter string) (imagestore.Tree, error) {
	mounts, err := s.snapshotter(snapshotter).Mounts(ctx, s.pinName(tree))
	if err != nil {
		return imagestore.Tree{}, fmt.Errorf("reading the layers of %s from snapshotter %s: %w", tree, snapshotter, err)
	}
	return treeOf(snapshotter, tree, mounts)
}

// lease finds a tree's lease.
func (s *Store) lease(ctx context.Context, tree digest.Digest) (leases.Lease, error) {
	found, err := s.client.LeasesService().List(ctx, "id=="+strconv.Quote(s.pinName(tree)))
	if err != nil {
		return leases.Lease{}, fmt.Errorf("looking for the lease of %s: %w", tree, err)
	}
	if len(found) == 0 {
		return leases.Lease{}, fmt.Errorf("lease of %s: %w", tree, errdefs.ErrNotFound)
	}
	return found[0], nil
}

// pin makes the lease first and everything else under it, so that the collector never sees a moment without. What a
// failure leaves is taken away.
func (s *Store) pin(ctx context.Context, image client.Image, tree digest.Digest) (made imagestore.Tree, name string, err error) {
	name, unpacked, err := s.locate(ctx, tree)
	if err != nil {
		return imagestore.Tree{}, name, err
	}
	if err := s.makeLease(ctx, image.Name(), tree, name); err != nil {
		return imagestore.Tree{}, name, err
	}
	defer func() {
		if err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
			defer cancel()
			err = errors.Join(err, s.unpin(undo, tree, name))
		}
	}()
	leased := leases.WithLease(ctx, s.pinName(tree))
	if !unpacked {
		if err := unpack(leased, image, name); err != nil {
			return imagestore.Tree{}, name, err
		}
	}
	made, err = s.view(leased, tree, name)
	if errors.Is(err, errdefs.ErrNotFound) && unpacked {
		// The collector took the layers between the look and the lease.
		if err := unpack(leased, image, name); err != nil {
			return imagestore.Tree{}, name, err
		}
		made, err = s.view(leased, tree, name)
	}
	if err != nil {
		return imagestore.Tree{}, name, err
	}
	s.logger.Info("pinned image", "image", image.Name(), "tree", tree, "snapshotter", name)
	return made, name, nil
}

// makeLease makes a tree's lease, in place of one that lost its snapshot.
func (s *Store) makeLease(ctx context.Context, image string, tree digest.Digest, snapshotter string) error {
	make := func() error {
		_, err := s.client.LeasesService().Create(ctx, leases.WithID(s.pinName(tree)), leases.WithLabels(map[string]string{
			contract.DriverLabel: s.driver,
			treeLabel:            tree.String(),
			imageLabel:           image,
			snapshotterLabel:     snapshotter,
		}))
		return err
	}
	err := make()
	if errors.Is(err, errdefs.ErrAlreadyExists) {
		if err := s.client.LeasesService().Delete(ctx, leases.Lease{ID: s.pinName(tree)}); err != nil {
			return fmt.Errorf("replacing the lease of %s: %w", tree, err)
		}
		err = make()
	}
	if err != nil {
		return fmt.Errorf("making a lease for %s: %w", tree, err)
	}
	return nil
}

// view makes the View snapshot. One that is left from a lost lease is taken into the new one.
func (s *Store) view(leased context.Context, tree digest.Digest, snapshotter string) (imagestore.Tree, error) {
	mounts, err := s.snapshotter(snapshotter).View(leased, s.pinName(tree), tree.String(), snapshots.WithLabels(map[string]string{
		contract.DriverLabel: s.driver,
		treeLabel:            tree.String(),
	}))
	if errors.Is(err, errdefs.ErrAlreadyExists) {
		err = s.client.LeasesService().AddResource(leased, leases.Lease{ID: s.pinName(tree)},
			leases.Resource{ID: s.pinName(tree), Type: "snapshots/" + snapshotter})
		if err == nil {
			return s.viewed(leased, tree, snapshotter)
		}
	}
	if err != nil {
		return imagestore.Tree{}, fmt.Errorf("making a view of %s with snapshotter %s: %w", tree, snapshotter, err)
	}
	return treeOf(snapshotter, tree, mounts)
}

// unpack turns the image's stored archives into snapshots. Archives that containerd threw away after an earlier unpack
// have to be pulled again.
func unpack(leased context.Context, image client.Image, snapshotter string) error {
	err := image.Unpack(leased, snapshotter)
	switch {
	case errors.Is(err, errdefs.ErrNotFound):
		return fmt.Errorf("%w: the layers of %s are neither unpacked nor stored: %w",
			imagestore.ErrNotFound, image.Name(), err)
	case err != nil:
		return fmt.Errorf("unpacking with snapshotter %s: %w", snapshotter, err)
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
	found, _, err := s.pinned(ctx, tree)
	if errors.Is(err, errdefs.ErrNotFound) {
		return imagestore.Tree{}, fmt.Errorf("%w: containerd holds no pin of tree %s", imagestore.ErrNotFound, treeID)
	}
	if err != nil {
		return imagestore.Tree{}, fmt.Errorf("reading pinned tree %s from containerd: %w", treeID, err)
	}
	return found, nil
}

// Pins implements imagestore.Store.
func (s *Store) Pins(ctx context.Context) ([]string, error) {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	found, err := s.client.LeasesService().List(ctx, fmt.Sprintf("labels.%q==%q", contract.DriverLabel, s.driver))
	if err != nil {
		return nil, fmt.Errorf("listing the pins of %s in containerd: %w", s.driver, err)
	}
	var trees []string
	for _, lease := range found {
		if tree := lease.Labels[treeLabel]; tree != "" {
			trees = append(trees, tree)
		}
	}
	return trees, nil
}

// Unpin implements imagestore.Store.
func (s *Store) Unpin(ctx context.Context, treeID string) error {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	tree, err := digest.Parse(treeID)
	if err != nil {
		return fmt.Errorf("unpinning %q: %w", treeID, err)
	}
	unlock, err := s.trees.lock(ctx, treeID)
	if err != nil {
		return err
	}
	defer unlock()
	lease, err := s.lease(ctx, tree)
	if errors.Is(err, errdefs.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.unpin(ctx, tree, lease.Labels[snapshotterLabel]); err != nil {
		return err
	}
	s.logger.Info("unpinned image", "image", lease.Labels[imageLabel], "tree", tree)
	return nil
}

// unpin removes the snapshot, then the lease: a lease without snapshot is still listed by Pins and tried again.
func (s *Store) unpin(ctx context.Context, tree digest.Digest, snapshotter string) error {
	err := s.snapshotter(snapshotter).Remove(ctx, s.pinName(tree))
	if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		return fmt.Errorf("removing the view of %s from snapshotter %s: %w", tree, snapshotter, err)
	}
	err = s.client.LeasesService().Delete(ctx, leases.Lease{ID: s.pinName(tree)}, leases.SynchronousDelete)
	if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		return fmt.Errorf("deleting the lease of %s: %w", tree, err)
	}
	return nil
}
