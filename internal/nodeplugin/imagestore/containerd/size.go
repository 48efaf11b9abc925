package containerd

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// Size implements imagestore.Store. The snapshotter measured each layer when it was unpacked, so none is read.
func (s *Store) Size(ctx context.Context, treeID string) (imagestore.Size, error) {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	snapshotters, err := s.working(ctx)
	if err != nil {
		return imagestore.Size{}, fmt.Errorf("reading the size of tree %s from containerd: %w", treeID, err)
	}
	for _, snapshotter := range snapshotters {
		size, err := sizeOf(ctx, s.snapshotter(snapshotter), treeID)
		switch {
		case err == nil:
			return size, nil
		case !errors.Is(err, errdefs.ErrNotFound):
			return imagestore.Size{}, fmt.Errorf("reading the size of tree %s from snapshotter %s: %w", treeID, snapshotter, err)
		}
	}
	return imagestore.Size{}, fmt.Errorf("%w: no snapshotter of containerd has the layers of tree %s", imagestore.ErrNotFound, treeID)
}

// sizeOf adds up a committed snapshot and its ancestors.
func sizeOf(ctx context.Context, snapshotter snapshots.Snapshotter, key string) (size imagestore.Size, err error) {
	for range hostmount.MaxLayers {
		info, err := snapshotter.Stat(ctx, key)
		if err != nil {
			return imagestore.Size{}, err
		}
		usage, err := snapshotter.Usage(ctx, key)
		if err != nil {
			return imagestore.Size{}, err
		}
		size.Bytes += usage.Size
		size.Inodes += usage.Inodes
		key = info.Parent
		if key == "" {
			break
		}
	}
	return size, nil
}
