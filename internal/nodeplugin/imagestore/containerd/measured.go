package containerd

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// maxQuestions is how many layers are asked for at a time.
const maxQuestions = 16

// errUnmeasured means that containerd never unpacked a layer of an image, so that only the image's author claims what it
// unpacks to. containerd does not unpack a layer whose snapshot it has already.
var errUnmeasured = errors.New("containerd has not measured it")

// measure returns what containerd unpacked from each layer. It asks for none of more layers than can be mounted.
func (s *Store) measure(ctx context.Context, layers []digest.Digest) ([]digest.Digest, error) {
	if len(layers) > hostmount.MaxLayers {
		return nil, nil
	}
	measured := make([]digest.Digest, len(layers))
	asking, asked := errgroup.WithContext(ctx)
	asking.SetLimit(maxQuestions)
	for i, layer := range layers {
		if isSHA256(layer) {
			asking.Go(func() (err error) {
				measured[i], err = s.measured(asked, layer)
				return err
			})
		}
	}
	return measured, asking.Wait() //nolint:wrapcheck // ours
}

// checkMeasured compares the layers that an image's configuration claims with what containerd measured when it unpacked the
// image. A configuration may name layers of another tenant's image that is on the node, and containerd shows them by that
// name alone. An image whose layers differ is refused. If proof is required, an image with an unmeasured layer is refused
// with errUnmeasured.
func (s *Store) checkMeasured(d described) error {
	for i, diff := range d.diffs {
		is := d.measured[i]
		switch {
		case is == diff:
		case is != "":
			return fmt.Errorf("%w: its configuration claims that layer %d unpacks to %s, but containerd measured %s; build and push it again",
				imagestore.ErrUnsupported, i+1, diff, is)
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
	if known := s.measurements.diffOf(layer); known != "" {
		return known, nil
	}
	info, err := s.client.ContentStore().Info(ctx, layer)
	if errors.Is(err, errdefs.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("asking containerd for layer %s: %w", layer, err)
	}
	is := digest.Digest(info.Labels[labels.LabelUncompressed])
	s.measurements.add(layer, is)
	return is, nil
}

// maxMeasurements bounds the memory, to half a MiB. Images share most of their layers.
const maxMeasurements = 2000

// measurements are what layers' blobs unpack to. A digest stands for one content, so what was measured once holds for ever,
// whatever becomes of the blob. The zero value is ready.
type measurements struct {
	mu    sync.Mutex
	diffs map[digest.Digest]digest.Digest // by the blob's digest
}

// diffOf returns what a blob unpacks to; empty if that is not known.
func (m *measurements) diffOf(layer digest.Digest) digest.Digest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.diffs[layer]
}

// add remembers what a blob unpacks to. That nobody has measured it, which is empty, is not remembered.
func (m *measurements) add(layer, diff digest.Digest) {
	if diff == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.diffs == nil || len(m.diffs) >= maxMeasurements {
		m.diffs = map[digest.Digest]digest.Digest{}
	}
	m.diffs[layer] = diff
}

// unpackUnmeasured unpacks an image that no snapshotter has, which measures its layers. Otherwise it returns the error that
// says so.
func (s *Store) unpackUnmeasured(ctx context.Context, image client.Image, tree digest.Digest, unmeasured error) error {
	snapshotter, unpacked, err := s.locate(ctx, tree)
	if err != nil {
		return err
	}
	if unpacked {
		return unmeasured
	}
	return unpack(ctx, image, snapshotter)
}
