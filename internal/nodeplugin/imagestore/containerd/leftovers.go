package containerd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy/leftover"
)

var _ leftover.Store = (*Store)(nil)

// leftoverFilters restrict what containerd lists to possible leftovers, instead of every snapshot of the node.
func leftoverFilters() []string {
	var filters []string
	for _, prefix := range leftover.Prefixes() {
		filters = append(filters, fmt.Sprintf("name~=%q", "^"+regexp.QuoteMeta(prefix)))
	}
	return filters
}

// Leftovers implements leftover.Store.
func (s *Store) Leftovers(ctx context.Context) ([]leftover.Leftover, error) {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	names, err := s.working(ctx)
	if err != nil {
		return nil, err
	}
	var found []leftover.Leftover
	for _, name := range names {
		var infos []snapshots.Info
		err := s.snapshotter(name).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			infos = append(infos, info)
			return nil
		}, leftoverFilters()...)
		if err != nil {
			return nil, fmt.Errorf("listing what the legacy driver keeps in snapshotter %s: %w", name, err)
		}
		for _, info := range infos {
			left, ok, err := s.readLeftover(ctx, name, info)
			if err != nil {
				return nil, err
			}
			if ok {
				found = append(found, left)
			}
		}
	}
	return found, nil
}

// readLeftover reads a snapshot of the legacy driver. ok is false for a snapshot in none of the forms that it makes.
func (s *Store) readLeftover(ctx context.Context, snapshotter string, info snapshots.Info) (leftover.Leftover, bool, error) {
	volumeID, ok := leftover.Key(info.Name)
	if _, rooted := info.Labels[rootLabel]; !ok || !rooted || info.Kind == snapshots.KindCommitted {
		return leftover.Leftover{}, false, nil
	}
	left := leftover.Leftover{Name: snapshotter + "/" + info.Name, Created: info.Created}
	for label := range info.Labels {
		if target, ok := leftover.Target(label); ok {
			left.Targets = append(left.Targets, target)
		}
	}
	slices.Sort(left.Targets)
	if info.Kind != snapshots.KindActive {
		return left, true, nil
	}
	left.VolumeID = volumeID
	mounts, err := s.snapshotter(snapshotter).Mounts(ctx, info.Name)
	if errors.Is(err, errdefs.ErrNotFound) {
		return leftover.Leftover{}, false, nil
	}
	if err != nil {
		return leftover.Leftover{}, false, fmt.Errorf("reading the directories of snapshot %s: %w", left.Name, err)
	}
	left.Layers, left.Upper, left.Work = writableDirs(mounts)
	return left, true, nil
}

// writableDirs returns the directories of an active snapshot from its mounts. layers is empty if these are not an overlay with
// known options.
func writableDirs(mounts []mount.Mount) (layers []string, upper, work string) {
	if len(mounts) != 1 || mounts[0].Type != "overlay" {
		return nil, "", ""
	}
	known := true
	for _, option := range mounts[0].Options {
		key, value, _ := strings.Cut(option, "=")
		switch {
		case key == "upperdir":
			upper = value
		case key == "workdir":
			work = value
		case !isOverlayOption(option):
			known = false
		}
	}
	if known && upper != "" && work != "" {
		layers = lowerDirs(mounts[0].Options)
	}
	return layers, upper, work
}

// RemoveLeftover implements leftover.Store.
func (s *Store) RemoveLeftover(ctx context.Context, name string) error {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	snapshotter, key, _ := strings.Cut(name, "/")
	if _, ok := leftover.Key(key); !ok {
		return fmt.Errorf("snapshot %q is not the legacy driver's", name)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.snapshotter(snapshotter).Remove(context.WithoutCancel(ctx), key)
	if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		return fmt.Errorf("removing snapshot %s of the legacy driver: %w", name, err)
	}
	return nil
}
