package containerd

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	treeLabel  = contract.Prefix + "tree"  // the tree's ID
	imageLabel = contract.Prefix + "image" // the image it was first pinned for, for people
)

// snapshotResource and a snapshotter's name are the type by which a lease holds a snapshot.
const snapshotResource = "snapshots/"

// undoTimeout bounds the clean-up after a failure, which must not end with the caller's deadline.
const undoTimeout = 10 * time.Second

// pinName is the name of a tree's lease and of its View snapshot.
func (s *Store) pinName(tree digest.Digest) string {
	return "imagecsi-" + s.driver + "-" + tree.Encoded()
}

// pinned returns a tree that is pinned already, and who keeps it, having written nothing; errdefs.ErrNotFound if it is
// not, or not wholly.
func (s *Store) pinned(ctx context.Context, tree digest.Digest) (found imagestore.Tree, keeper string, err error) {
	keepers, err := s.keepers(ctx, tree)
	if err != nil {
		return imagestore.Tree{}, "", err
	}
	for _, keeper := range keepers {
		found, err := s.viewed(ctx, tree, keeper)
		if !errors.Is(err, errdefs.ErrNotFound) {
			return found, keeper, err
		}
	}
	return imagestore.Tree{}, "", fmt.Errorf("the lease of %s has no view: %w", tree, errdefs.ErrNotFound)
}

// keepers lists the snapshotters whose View snapshot of a tree its lease holds: one, unless something was lost.
// errdefs.ErrNotFound if there is no lease.
func (s *Store) keepers(ctx context.Context, tree digest.Digest) ([]string, error) {
	held, err := s.client.LeasesService().ListResources(ctx, leases.Lease{ID: s.pinName(tree)})
	if err != nil {
		return nil, fmt.Errorf("asking what the lease of %s holds: %w", tree, err)
	}
	var keepers []string
	for _, resource := range held {
		if name, ok := strings.CutPrefix(resource.Type, snapshotResource); ok && resource.ID == s.pinName(tree) {
			keepers = append(keepers, name)
		}
	}
	return keepers, nil
}

// viewed reads a tree's View snapshot.
func (s *Store) viewed(ctx context.Context, tree digest.Digest, snapshotter string) (imagestore.Tree, error) {
	mounts, err := s.snapshotter(snapshotter).Mounts(ctx, s.pinName(tree))
	if err != nil {
		return imagestore.Tree{}, fmt.Errorf("reading the layers of %s from snapshotter %s: %w", tree, snapshotter, err)
	}
	return treeOf(snapshotter, tree, mounts)
}

// pin makes the lease first and everything else under it, so that the collector never sees a moment without. It returns
// who keeps the view. What a failure leaves is taken away.
func (s *Store) pin(ctx context.Context, image client.Image, tree digest.Digest) (made imagestore.Tree, keeper string, err error) {
	unlock, err := s.trees.Lock(ctx, tree.String())
	if err != nil {
		return imagestore.Tree{}, "", err
	}
	defer unlock()
	err = s.makeLease(ctx, image.Name(), tree)
	if errors.Is(err, errdefs.ErrAlreadyExists) {
		made, keeper, err = s.pinned(ctx, tree)
		if !errors.Is(err, errdefs.ErrNotFound) {
			return made, keeper, err
		}
	} else if err != nil {
		return imagestore.Tree{}, "", err
	}
	defer func() {
		if err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
			defer cancel()
			err = errors.Join(err, s.unpin(undo, tree))
		}
	}()
	made, keeper, err = s.viewAnywhere(leases.WithLease(ctx, s.pinName(tree)), image, tree)
	if err != nil {
		return imagestore.Tree{}, "", err
	}
	s.logger.Info("pinned image", "image", image.Name(), "tree", tree, "snapshotter", keeper)
	return made, keeper, nil
}

// makeLease makes a tree's lease. The error is errdefs.ErrAlreadyExists if it has one.
func (s *Store) makeLease(ctx context.Context, image string, tree digest.Digest) error {
	_, err := s.client.LeasesService().Create(ctx, leases.WithID(s.pinName(tree)), leases.WithLabels(map[string]string{
		contract.DriverLabel: s.driver,
		treeLabel:            tree.String(),
		imageLabel:           image,
	}))
	if err != nil {
		return fmt.Errorf("making a lease for %s: %w", tree, err)
	}
	return nil
}

// viewAnywhere makes the View snapshot where the layers are, and unpacks them where they are nowhere. The snapshotter
// of the latest pin is tried first: most likely it has them.
func (s *Store) viewAnywhere(leased context.Context, image client.Image, tree digest.Digest) (made imagestore.Tree, keeper string, err error) {
	if keeper = s.seen.keeper(); keeper != "" {
		made, err = s.view(leased, tree, keeper)
		if !errors.Is(err, errdefs.ErrNotFound) {
			return made, keeper, err
		}
	}
	keeper, unpacked, err := s.locate(leased, tree)
	if err != nil {
		return imagestore.Tree{}, "", err
	}
	if unpacked {
		made, err = s.view(leased, tree, keeper)
		if !errors.Is(err, errdefs.ErrNotFound) {
			return made, keeper, err
		}
		// The collector took the layers after that look.
	}
	if err := unpack(leased, image, keeper); err != nil {
		return imagestore.Tree{}, "", err
	}
	made, err = s.view(leased, tree, keeper)
	return made, keeper, err
}

// view makes the View snapshot. One that is left from a lost lease is taken into the new one.
func (s *Store) view(leased context.Context, tree digest.Digest, snapshotter string) (imagestore.Tree, error) {
	mounts, err := s.snapshotter(snapshotter).View(leased, s.pinName(tree), tree.String(), snapshots.WithLabels(map[string]string{
		contract.DriverLabel: s.driver,
		treeLabel:            tree.String(),
	}))
	if errors.Is(err, errdefs.ErrAlreadyExists) {
		err = s.client.LeasesService().AddResource(leased, leases.Lease{ID: s.pinName(tree)},
			leases.Resource{ID: s.pinName(tree), Type: snapshotResource + snapshotter})
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
	unlock, err := s.trees.Lock(ctx, treeID)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.unpin(ctx, tree); err != nil {
		return err
	}
	s.logger.Info("unpinned image", "tree", tree)
	return nil
}

// unpin removes the snapshot, then the lease: a lease without snapshot is still listed by Pins and tried again.
func (s *Store) unpin(ctx context.Context, tree digest.Digest) error {
	keepers, err := s.keepers(ctx, tree)
	if errors.Is(err, errdefs.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, keeper := range keepers {
		err := s.snapshotter(keeper).Remove(ctx, s.pinName(tree))
		if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
			return fmt.Errorf("removing the view of %s from snapshotter %s: %w", tree, keeper, err)
		}
	}
	err = s.client.LeasesService().Delete(ctx, leases.Lease{ID: s.pinName(tree)}, leases.SynchronousDelete)
	if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		return fmt.Errorf("deleting the lease of %s: %w", tree, err)
	}
	return nil
}
