package containerd

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
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

// criSnapshotter returns the snapshotter that containerd's CRI service is configured with; empty where there is no
// such service. CRI tells it as the image file system's directory, which containerd 1.6 to 2.4 name
// "io.containerd.snapshotter.v1.<name>".
func (s *Store) criSnapshotter(ctx context.Context) (string, error) {
	conn, ok := s.client.Conn().(grpc.ClientConnInterface)
	if !ok {
		return "", errors.New("the containerd client has no gRPC connection")
	}
	info, err := runtime.NewImageServiceClient(conn).ImageFsInfo(ctx, &runtime.ImageFsInfoRequest{})
	if status.Code(err) == codes.Unimplemented {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("asking CRI for the image file system: %w", err)
	}
	for _, fs := range info.GetImageFilesystems() {
		base := path.Base(fs.GetFsId().GetMountpoint())
		if name, ok := strings.CutPrefix(base, string(plugins.SnapshotPlugin)+"."); ok {
			return name, nil
		}
	}
	return "", nil
}
