package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/containerd/containerd/v2/plugins"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// likelyTree returns the tree that CRI has in memory for an image; empty if it has none. That is a hint: CRI learns of a change
// later than containerd does, and it believes what an image claims of its layers. It is the "chainID" in the verbose part of the
// answer, from containerd 1.6 to 2.4.
func (s *Store) likelyTree(ctx context.Context, ref string) digest.Digest {
	conn, err := s.conn()
	if err != nil {
		return ""
	}
	answer, err := runtime.NewImageServiceClient(conn).ImageStatus(ctx, &runtime.ImageStatusRequest{
		Image: &runtime.ImageSpec{Image: ref}, Verbose: true})
	if err != nil {
		return ""
	}
	var info struct {
		ChainID digest.Digest `json:"chainID"`
	}
	if json.Unmarshal([]byte(answer.GetInfo()["info"]), &info) != nil || !isSHA256(info.ChainID) {
		return ""
	}
	return info.ChainID
}

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
