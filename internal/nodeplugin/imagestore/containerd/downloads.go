package containerd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
)

// layerRef is what containerd calls the download of a layer (remotes.MakeRefKey).
const layerRef = "layer-"

// failedCommit is how containerd names the download that is not what its digest says.
var failedCommit = regexp.MustCompile(`failed commit on ref "([^"]+)"`)

// Downloading sums up, in bytes, the layers that are being downloaded, of all images (pull.Downloads). What an earlier
// pull left unfinished does not count until it goes on.
func (s *Store) Downloading(ctx context.Context, since time.Time) (layers int, done, total int64, err error) {
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

// DiscardDownload throws away the complete download that the error of a pull names (pull.Downloads). containerd keeps it,
// right or wrong, and only looks at its digest again at each pull, until its garbage collection takes it a day later.
func (s *Store) DiscardDownload(ctx context.Context, corrupt error) error {
	named := failedCommit.FindStringSubmatch(corrupt.Error())
	if named == nil {
		return nil
	}
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	status, err := s.client.ContentStore().Status(ctx, named[1])
	if err == nil && (status.Total == 0 || status.Offset < status.Total) {
		return nil // somebody downloads it anew
	}
	if err == nil {
		err = s.client.ContentStore().Abort(ctx, named[1])
	}
	if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		return fmt.Errorf("throwing away the download %s of containerd: %w", named[1], err)
	}
	return nil
}
