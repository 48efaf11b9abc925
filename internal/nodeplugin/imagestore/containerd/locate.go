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

// locate finds the snapshotter that holds the tree's top layer. Where none does, it returns the one that images are
// to be unpacked with. containerd tells which there are now, for it may have been restarted with others.
func (s *Store) locate(ctx context.Context, tree digest.Digest) (name string, unpacked bool, err error) {
	candidates, err := s.snapshotters(ctx)
	if err != nil {
		return "", false, err
	}
	for _, candidate := range candidates {
		_, err := s.snapshotter(candidate).Stat(ctx, tree.String())
		switch {
		case err == nil:
			return candidate, true, nil
		case !errors.Is(err, errdefs.ErrNotFound):
			return "", false, fmt.Errorf("asking snapshotter %s for layer %s: %w", candidate, tree, err)
		}
	}
	return candidates[0], false, nil
}

// snapshotters lists the snapshotters that work on this node: first the one that CRI unpacks with, then containerd's
// default, then the others. A node may unpack images for some runtime classes with another one.
func (s *Store) snapshotters(ctx context.Context) ([]string, error) {
	names, err := s.working(ctx)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("containerd has no working snapshotter")
	}
	criName, err := s.criSnapshotter(ctx)
	if err != nil {
		return nil, err
	}
	rank := func(name string) int {
		return slices.Index([]string{criName, defaults.DefaultSnapshotter, name}, name)
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names, nil
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
