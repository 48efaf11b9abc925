package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/plugins"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// criImage is what containerd's CRI service knows of an image. It has configurations in memory, where containerd itself
// would have to be asked for the manifest and then for the configuration.
type criImage struct {
	digests []string // "<repository>@<digest of the manifest or index>"
	config  ocispec.Image
}

// of tells whether that is the image with this manifest or index. CRI learns what becomes of a name a moment later than
// containerd.
func (i criImage) of(target digest.Digest) bool {
	return len(i.config.RootFS.DiffIDs) > 0 && slices.ContainsFunc(i.digests, func(d string) bool { return strings.HasSuffix(d, "@"+target.String()) })
}

// criImage asks CRI for an image; what it does not know or tell is empty. It tells configurations to whoever debugs, as
// "imageSpec" in the verbose part of its answer, from containerd 1.6 to 2.4.
func (s *Store) criImage(ctx context.Context, ref string) criImage {
	conn, err := s.conn()
	if err != nil {
		return criImage{}
	}
	answer, err := runtime.NewImageServiceClient(conn).ImageStatus(ctx, &runtime.ImageStatusRequest{
		Image: &runtime.ImageSpec{Image: ref}, Verbose: true})
	if err != nil {
		return criImage{}
	}
	var told struct {
		ImageSpec ocispec.Image `json:"imageSpec"`
	}
	if err := json.Unmarshal([]byte(answer.GetInfo()["info"]), &told); err != nil {
		return criImage{}
	}
	return criImage{digests: answer.GetImage().GetRepoDigests(), config: told.ImageSpec}
}

// criSnapshotter returns the snapshotter that containerd's CRI service is configured with; empty where there is no
// such service. CRI tells it as the image file system's directory, which containerd 1.6 to 2.4 name
// "io.containerd.snapshotter.v1.<name>".
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
