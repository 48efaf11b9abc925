package containerd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// layerRef is what containerd calls the download of a layer (remotes.MakeRefKey).
const layerRef = "layer-"

// Downloads sums up, in bytes, the layers that are being downloaded, of all images (pull.Progress). What an earlier
// pull left unfinished does not count until it goes on.
func (s *Store) Downloads(ctx context.Context, since time.Time) (layers int, done, total int64, err error) {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	statuses, err := s.client.ContentStore().ListStatuses(ctx)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("asking containerd for its downloads: %w", err)
	}
	for _, status := range statuses {
		if !strings.HasPrefix(status.Ref, layerRef) || status.UpdatedAt.Before(since) {
			continue
		}
		layers++
		done += status.Offset
		total += max(status.Total, status.Offset)
	}
	return layers, done, total, nil
}
