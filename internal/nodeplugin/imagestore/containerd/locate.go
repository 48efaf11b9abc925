package containerd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// locate finds the snapshotter that holds the tree's top layer. If none does, it returns the one with which to unpack the
// image. It asks containerd for its snapshotters each time, because a restart may have changed them. A snapshotter that
// fails, as when its daemon is down, is an error only if no other has the layer, because the failed one may have it.
func (s *Store) locate(ctx context.Context, tree digest.Digest) (name string, unpacked bool, err error) {
	snapshotters, err := s.working(ctx)
	if err != nil {
		return "", false, err
	}
	if len(snapshotters) == 0 {
		return "", false, errors.New("containerd has no working snapshotter")
	}
	first, err := s.criSnapshotter(ctx)
	errs := []error{err}
	inOrder(snapshotters, first)
	for _, snapshotter := range snapshotters {
		_, err := s.snapshotter(snapshotter).Stat(ctx, tree.String())
		switch {
		case err == nil:
			return snapshotter, true, nil
		case !errors.Is(err, errdefs.ErrNotFound):
			errs = append(errs, fmt.Errorf("asking snapshotter %s for layer %s: %w", snapshotter, tree, err))
		}
	}
	return snapshotters[0], false, errors.Join(errs...)
}

// inOrder sorts snapshotters: first the one that CRI unpacks with, then containerd's default, then the others. A node may
// unpack images for some runtime classes with another one.
func inOrder(names []string, cri string) {
	rank := func(name string) int {
		return slices.Index([]string{cri, defaults.DefaultSnapshotter, name}, name)
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
}

// working lists the snapshotters that work on this node, in no order.
func (s *Store) working(ctx context.Context) ([]string, error) {
	loaded, err := s.client.IntrospectionService().Plugins(ctx, "type=="+string(plugins.SnapshotPlugin))
	if err != nil {
		return nil, fmt.Errorf("listing containerd's snapshotters: %w", err)
	}
	var names []string
	for _, plugin := range loaded.Plugins {
		if plugin.InitErr == nil {
			names = append(names, plugin.ID)
		}
	}
	return names, nil
}
