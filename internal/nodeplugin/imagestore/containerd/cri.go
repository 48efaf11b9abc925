package containerd

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/plugins"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// criSnapshotter returns the snapshotter that containerd's CRI service is configured with; empty if there is no such service. CRI
// reports the image file system's directory, which containerd 1.6 to 2.4 name "io.containerd.snapshotter.v1.<name>".
func (s *Store) criSnapshotter(ctx context.Context) (string, error) {
	conn, err := s.conn()
	if err != nil {
		return "", err
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
