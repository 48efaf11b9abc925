package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// sourceLabel with the registry's host is the label in which containerd records the repositories that it has a blob from
	// (docker.AppendDistributionSourceLabel). It rewrites the label at each pull.
	sourceLabel = labels.LabelDistributionSource + "."

	// configLabel is on manifests only: the blob that is their image's configuration (images.ChildGCLabels).
	configLabel = "containerd.io/gc.ref.content.config"

	// maxManifest is more than registries accept (OCI distribution specification, "Pushing Manifests").
	maxManifest = 8 << 20
)

// failedCommit is how containerd names a download that does not match its digest.
var failedCommit = regexp.MustCompile(`failed commit on ref "([^"]+)"`)

// Downloading implements pull.Downloads. Layers that were there before the pull count as done.
func (s *Store) Downloading(ctx context.Context, ref string, since time.Time) (done, total int64, err error) {
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	manifest, err := s.pulledManifest(ctx, ref, since)
	if err != nil {
		return 0, 0, fmt.Errorf("looking for the manifest of %s in containerd: %w", ref, err)
	}
	// Ask for downloads under way before complete ones, so that a layer that completes in between is found.
	statuses, err := s.client.ContentStore().ListStatuses(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("asking containerd for its downloads: %w", err)
	}
	offsets := map[string]int64{}
	for _, status := range statuses {
		offsets[status.Ref] = status.Offset
	}
	counted := map[digest.Digest]bool{}
	for _, layer := range manifest.Layers {
		if counted[layer.Digest] {
			continue
		}
		counted[layer.Digest] = true
		total += layer.Size
		switch _, err := s.client.ContentStore().Info(ctx, layer.Digest); {
		case err == nil:
			done += layer.Size
		case errors.Is(err, errdefs.ErrNotFound):
			done += min(layer.Size, offsets[remotes.MakeRefKey(ctx, layer)])
		default:
			return 0, 0, fmt.Errorf("asking containerd for layer %s: %w", layer.Digest, err)
		}
	}
	return done, total, nil
}

// pulledManifest returns the manifest of an image whose pull began at a moment. Before the pull is over, no record leads
// from the image's name to the manifest, so it is found by its repository. It returns a manifest without layers if there is
// none yet, or if several pulls of the repository cannot be distinguished.
func (s *Store) pulledManifest(ctx context.Context, ref string, since time.Time) (manifest ocispec.Manifest, err error) {
	found, err := s.manifestsSince(ctx, ref, since)
	if err != nil || len(found) != 1 || found[0].Size > maxManifest {
		return manifest, err
	}
	blob, err := content.ReadBlob(ctx, s.client.ContentStore(), ocispec.Descriptor{Digest: found[0].Digest, Size: found[0].Size})
	if err != nil {
		return manifest, err
	}
	return manifest, json.Unmarshal(blob, &manifest)
}

// manifestsSince lists the manifests that pulls of an image's repository have brought, or found, since a moment.
func (s *Store) manifestsSince(ctx context.Context, ref string, since time.Time) (found []content.Info, err error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, err
	}
	host, err := url.Parse("registry://" + reference.Domain(named))
	if err != nil {
		return nil, err
	}
	source := sourceLabel + host.Hostname()
	var all []digest.Digest
	err = s.client.ContentStore().Walk(ctx, func(info content.Info) error {
		if repositories := strings.Split(info.Labels[source], ","); slices.Contains(repositories, reference.Path(named)) {
			all = append(all, info.Digest)
		}
		return nil
	}, fmt.Sprintf("labels.%q,labels.%q", configLabel, source))
	if err != nil {
		return nil, err
	}
	for _, manifest := range all {
		info, err := s.client.ContentStore().Info(ctx, manifest) // a list of containerd 1.6 lacks the time
		switch {
		case err == nil && !info.UpdatedAt.Before(since):
			found = append(found, info)
		case err != nil && !errors.Is(err, errdefs.ErrNotFound):
			return nil, err
		}
	}
	return found, nil
}

// DiscardDownload removes the complete download that the error of a pull names (pull.Downloads). containerd would keep it and
// check its digest again at each pull, until its garbage collection removes it a day later.
func (s *Store) DiscardDownload(ctx context.Context, corrupt error) error {
	named := failedCommit.FindStringSubmatch(corrupt.Error())
	if named == nil {
		return nil
	}
	ctx = namespaces.WithNamespace(ctx, kubernetesNamespace)
	status, err := s.client.ContentStore().Status(ctx, named[1])
	if err == nil && (status.Total == 0 || status.Offset < status.Total) {
		return nil // it is being downloaded again
	}
	if err == nil {
		err = s.client.ContentStore().Abort(ctx, named[1])
	}
	if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		return fmt.Errorf("discarding the download %s of containerd: %w", named[1], err)
	}
	return nil
}
