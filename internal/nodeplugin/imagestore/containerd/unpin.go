package containerd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// collectLease bounds the life of a lease that is made only to have containerd collect.
const collectLease = time.Minute

// Unpin implements imagestore.Store.
func (s *Store) Unpin(ctx context.Context, treeID string) error {
	return s.everywhere(ctx, treeID, s.removeViews)
}

// removeViews removes all views of a tree: there may be several, if two snapshotters have its layers or an answer was lost.
func (s *Store) removeViews(ctx context.Context, tree digest.Digest, snapshotters []string) error {
	// Before the removal, because from here on nothing that was read of the pin is trusted. Without the caller's deadline,
	// because containerd does not end with it, so the view might go after another call has found it.
	s.cache.unpinned(tree)
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, snapshotter := range snapshotters {
		errs = append(errs, s.removeView(ctx, tree, snapshotter))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.logger.Info("unpinned image", "tree", tree)
	return nil
}

// removeView removes a tree's view from one snapshotter. None there is success.
func (s *Store) removeView(ctx context.Context, tree digest.Digest, snapshotter string) error {
	err := s.snapshotter(snapshotter).Remove(ctx, s.viewName(tree))
	if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		return fmt.Errorf("removing the view of %s from snapshotter %s: %w", tree, snapshotter, err)
	}
	return nil
}

// Collect implements imagestore.Store. containerd collects at once only on a synchronous deletion, and a lease is the cheapest
// object to delete.
func (s *Store) Collect(ctx context.Context) error {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	lease, err := s.client.LeasesService().Create(ctx, leases.WithRandomID(), leases.WithExpiration(collectLease))
	if err == nil {
		err = s.client.LeasesService().Delete(ctx, lease, leases.SynchronousDelete)
	}
	if err != nil {
		return fmt.Errorf("having containerd collect what was unpinned: %w", err)
	}
	return nil
}
