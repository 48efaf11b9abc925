package containerd

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// maxQuestions is how many layers are asked for at a time.
const maxQuestions = 16

// errUnmeasured means that containerd never unpacked a layer of an image, so that only the image's author claims what it
// unpacks to. containerd does not unpack a layer whose snapshot it has already.
var errUnmeasured = errors.New("containerd has not measured it")

// checkClaim checks with containerd that the layers of an image that this process has not pinned before are its own.
func (s *Store) checkClaim(ctx context.Context, f found) error {
	if f.claimed == nil {
		return nil
	}
	return s.checkMeasured(ctx, *f.claimed)
}

// checkMeasured compares the layers that an image's configuration claims with what containerd measured when it unpacked the
// image. A configuration may name layers of another tenant's image that is on the node, and containerd shows them by that
// name alone. An image whose layers differ is refused. If proof is required, an image with an unmeasured layer is refused
// with errUnmeasured.
func (s *Store) checkMeasured(ctx context.Context, d described) error {
	measured := make([]digest.Digest, len(d.layers))
	asking, asked := errgroup.WithContext(ctx)
	asking.SetLimit(maxQuestions)
	for i, layer := range d.layers {
		asking.Go(func() (err error) {
			measured[i], err = s.measured(asked, layer)
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		return err //nolint:wrapcheck // ours
	}
	for i, is := range measured {
		switch {
		case is == d.diffs[i]:
		case is != "":
			return fmt.Errorf("%w: its configuration claims that layer %d unpacks to %s, but containerd measured %s; build and push it again",
				imagestore.ErrUnsupported, i+1, d.diffs[i], is)
		case s.provenOnly:
			return fmt.Errorf("%w: layer %d is not known to be its own: %w, because equal files were on the node already or the layer was "+
				"thrown away (discard_unpacked_layers in containerd's configuration), and credentials.verification AlwaysVerify asks for that",
				imagestore.ErrUnsupported, i+1, errUnmeasured)
		}
	}
	return nil
}

// measured returns the digest of what containerd unpacked from a layer's blob. containerd records it in a label after
// comparing it with the configuration of the image that it unpacked. Empty if there is no such blob, or no such label.
func (s *Store) measured(ctx context.Context, layer digest.Digest) (digest.Digest, error) {
	info, err := s.client.ContentStore().Info(ctx, layer)
	if errors.Is(err, errdefs.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("asking containerd for layer %s: %w", layer, err)
	}
	return digest.Digest(info.Labels[labels.LabelUncompressed]), nil
}
