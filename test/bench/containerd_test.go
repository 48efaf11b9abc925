package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/image-spec/identity"

	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

const snapshotter = "overlayfs"

// direct does by containerd's client, with the fewest calls, what the first volume of an image needs of containerd.
type direct struct{ client *client.Client }

func newDirect(b *testing.B, target *nodes.Target) direct {
	b.Helper()
	return direct{client: target.Containerd(b)}
}

// top is the name of the snapshot that holds an image's topmost layer.
func (d direct) top(ctx context.Context, reference string) (string, error) {
	image, err := d.client.GetImage(ctx, reference)
	if err != nil {
		return "", err
	}
	diffs, err := image.RootFS(ctx)
	if err != nil {
		return "", err
	}
	return identity.ChainID(diffs).String(), nil
}

// pin makes a lease and, under it, a View snapshot, and returns the layers, topmost first.
func (d direct) pin(ctx context.Context, name, top string) ([]string, error) {
	if _, err := d.client.LeasesService().Create(ctx, leases.WithID(name)); err != nil {
		return nil, fmt.Errorf("making a lease: %w", err)
	}
	mounts, err := d.client.SnapshotService(snapshotter).View(leases.WithLease(ctx, name), name, top,
		snapshots.WithLabels(map[string]string{"bench": "true"}))
	if err != nil {
		return nil, fmt.Errorf("making a view: %w", err)
	}
	return lowers(mounts)
}

func (d direct) unpin(ctx context.Context, name string) error {
	return errors.Join(d.client.SnapshotService(snapshotter).Remove(ctx, name),
		d.client.LeasesService().Delete(ctx, leases.Lease{ID: name}))
}

// layers are those of an image on the node, topmost first.
func (d direct) layers(ctx context.Context, reference string) ([]string, error) {
	top, err := d.top(ctx, reference)
	if err != nil {
		return nil, err
	}
	found, err := d.pin(ctx, "bench-layers", top)
	return found, errors.Join(err, d.unpin(ctx, "bench-layers"))
}

func lowers(mounts []mount.Mount) ([]string, error) {
	for _, option := range mounts[0].Options {
		if list, ok := strings.CutPrefix(option, "lowerdir="); ok {
			return strings.Split(list, ":"), nil
		}
	}
	return nil, fmt.Errorf("no layers in %v", mounts)
}
