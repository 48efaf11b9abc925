package crio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"go.podman.io/storage"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// composefsDir lies beside a layer's directory where that holds only the objects of a composefs image.
const composefsDir = "composefs-data"

// image finds an image by one of its names; by digest also if it was pulled under another name of its repository. The
// library reads its files again when CRI-O has changed them.
func (s *Store) image(ref string) (*storage.Image, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, fmt.Errorf("parsing image reference %q: %w", ref, err)
	}
	found, err := s.storage.Image(named.String())
	if err == nil {
		return found, nil
	}
	if !errors.Is(err, storage.ErrImageUnknown) {
		return nil, err
	}
	if digested, ok := named.(reference.Digested); ok {
		if found, err := s.imageByDigest(named.Name(), digested.Digest()); found != nil || err != nil {
			return found, err
		}
	}
	if s.isArtifact(named.String()) {
		return nil, fmt.Errorf("%w: it is an OCI artifact, whose layers are no file system; push its files as a container image",
			imagestore.ErrUnsupported)
	}
	return nil, s.lacks(context.Background(), named.String())
}

// imageByDigest finds an image of a repository by its manifest's digest.
func (s *Store) imageByDigest(repository string, d digest.Digest) (*storage.Image, error) {
	images, err := s.storage.ImagesByDigest(d)
	if err != nil && !errors.Is(err, storage.ErrImageUnknown) {
		return nil, err
	}
	for _, image := range images {
		for _, name := range image.Names {
			if named, err := reference.ParseNormalizedNamed(name); err == nil && named.Name() == repository {
				return image, nil
			}
		}
	}
	return nil, nil
}

// digestOf returns the digest by which an image was found, or that of its manifest.
func digestOf(image *storage.Image, ref string) string {
	if _, asked, ok := strings.Cut(ref, "@"); ok {
		return asked
	}
	return image.Digest.String()
}

// tree returns the ID of the stack of layers that ends with top: the chain ID of their digests, as the OCI image specification
// defines it ("Layer ChainID"), so that images with equal layers have equal trees.
func (s *Store) tree(top string) (string, error) {
	if top == "" {
		return "", fmt.Errorf("%w: it has no layers", imagestore.ErrUnsupported)
	}
	var diffs []digest.Digest
	for id := top; id != ""; {
		layer, err := s.storage.Layer(id)
		if err != nil {
			return "", fmt.Errorf("reading layer %s: %w", id, err)
		}
		diffs = append(diffs, diffID(layer))
		id = layer.Parent
	}
	if len(diffs) > hostmount.MaxLayers {
		return "", fmt.Errorf("%w: it has %d layers, and the kernel stacks at most %d; flatten the image",
			imagestore.ErrUnsupported, len(diffs), hostmount.MaxLayers)
	}
	slices.Reverse(diffs)
	return identity.ChainID(diffs).String(), nil
}

// diffID returns a layer's digest. A layer that was pulled in parts may have only the digest of its table of contents.
func diffID(layer *storage.Layer) digest.Digest {
	switch {
	case layer.UncompressedDigest != "":
		return layer.UncompressedDigest
	case layer.TOCDigest != "":
		return layer.TOCDigest
	default:
		return digest.FromString("layer " + layer.ID)
	}
}

// pinnedLayers returns the directories of the layers beneath a pin's own, empty layer, topmost first.
func (s *Store) pinnedLayers(pin *storage.Container) ([]string, error) {
	own, err := s.storage.Layer(pin.LayerID)
	if err != nil {
		return nil, fmt.Errorf("reading the layer of pin %s: %w", pin.ID, err)
	}
	driver, err := s.storage.GraphDriver()
	if err != nil {
		return nil, fmt.Errorf("opening the graph driver: %w", err)
	}
	if driver.String() != driverName {
		return nil, fmt.Errorf("%w: CRI-O keeps layers with the graph driver %q, and only %q has directories",
			imagestore.ErrUnsupported, driver.String(), driverName)
	}
	where, err := driver.Metadata(own.Parent)
	if err != nil {
		return nil, fmt.Errorf("looking for the directories of layer %s: %w", own.Parent, err)
	}
	layers := []string{where["UpperDir"]}
	if lower := where["LowerDir"]; lower != "" {
		layers = append(layers, strings.Split(lower, ":")...)
	}
	for _, layer := range layers {
		if !filepath.IsAbs(layer) {
			return nil, fmt.Errorf("%w: layer directory %q is not an absolute path", imagestore.ErrUnsupported, layer)
		}
		if _, err := os.Lstat(filepath.Join(filepath.Dir(layer), composefsDir)); err == nil {
			return nil, fmt.Errorf("%w: CRI-O keeps layer %s as a composefs image, not as a directory",
				imagestore.ErrUnsupported, filepath.Dir(layer))
		}
	}
	return layers, nil
}
