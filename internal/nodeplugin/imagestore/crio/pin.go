package crio

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"go.podman.io/storage"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// metadata is the metadata of a pin's container. It must have neither of the keys "pod-name" and "pod-id", by
// which CRI-O knows its own containers, and must be a JSON object, or CRI-O logs a warning at every start.
type metadata struct {
	Driver string `json:"imagecsi.dev/driver"`
	Tree   string `json:"imagecsi.dev/tree"`
	Image  string `json:"imagecsi.dev/image"`            // the image it was first pinned for, for administrators
	Digest string `json:"imagecsi.dev/digest,omitempty"` // that image's
}

// pinID is the ID of a tree's container: 64 hexadecimal digits, as CRI-O's have.
func (s *Store) pinID(tree string) string {
	sum := sha256.Sum256([]byte("imagecsi\x00" + s.driver + "\x00" + tree))
	return hex.EncodeToString(sum[:])
}

// layerID is the ID of the layer that the library makes for that container. With a name of its own the layer can be
// found if the process is killed before the container is there.
func (s *Store) layerID(tree string) string {
	sum := sha256.Sum256([]byte("imagecsi layer\x00" + s.driver + "\x00" + tree))
	return hex.EncodeToString(sum[:])
}

// Pin implements imagestore.Store.
func (s *Store) Pin(ctx context.Context, reference string) (imagestore.Tree, error) {
	//nolint:contextcheck // the library knows no context, and the question for CRI-O's setup has a time limit of its own
	return within(ctx, s, "pinning image "+reference+" in CRI-O's store", func() (imagestore.Tree, error) {
		tree, err := s.pinNamed(reference)
		return tree, imagestore.Refused(reference, err)
	})
}

func (s *Store) pinNamed(reference string) (imagestore.Tree, error) {
	image, err := s.image(reference)
	if err != nil {
		return imagestore.Tree{}, err
	}
	tree, err := s.tree(image.TopLayer)
	if err != nil {
		return imagestore.Tree{}, err
	}
	if err := s.checkPlatform(image); err != nil {
		return imagestore.Tree{}, err
	}
	layers, err := s.pinWhole(image, tree, reference)
	return imagestore.Tree{ID: tree, Layers: layers, Digest: digestOf(image, reference)}, err
}

// pinWhole pins a tree and returns its layers.
func (s *Store) pinWhole(image *storage.Image, tree, reference string) ([]string, error) {
	layers, err := s.pinAndOpen(image, tree, reference)
	if errors.Is(err, storage.ErrLayerUnknown) {
		// An Unpin was killed after it had removed the container's layer, and before the container.
		err = s.remove(tree)
		if err == nil {
			layers, err = s.pinAndOpen(image, tree, reference)
		}
	}
	return layers, err
}

func (s *Store) pinAndOpen(image *storage.Image, tree, reference string) ([]string, error) {
	pinned, err := s.pin(image, tree, reference)
	if err != nil {
		return nil, err
	}
	return s.pinnedLayers(pinned)
}

// pin returns the tree's container, and makes it if there is none. Another image with equal layers may have been pinned
// first; its layers will do.
func (s *Store) pin(image *storage.Image, tree, reference string) (*storage.Container, error) {
	found, err := s.ours(tree)
	if err != nil || found != nil {
		return found, err
	}
	made, err := s.create(image, tree, reference)
	if errors.Is(err, storage.ErrDuplicateID) || errors.Is(err, storage.ErrDuplicateName) {
		// Another call was faster, or one was killed between making the layer and the container.
		if found, err := s.ours(tree); err != nil || found != nil {
			return found, err
		}
		if err := s.remove(tree); err != nil {
			return nil, err
		}
		made, err = s.create(image, tree, reference)
	}
	if err != nil {
		return nil, err
	}
	s.logger.Info("pinned image", "image", reference, "tree", tree, "container", made.ID)
	return made, nil
}

// create makes the tree's container, and its layer before.
func (s *Store) create(image *storage.Image, tree, reference string) (*storage.Container, error) {
	about, err := json.Marshal(metadata{Driver: s.driver, Tree: tree, Image: reference, Digest: digestOf(image, reference)})
	if err != nil {
		return nil, err
	}
	id := s.pinID(tree)
	made, err := s.storage.CreateContainer(id, []string{"imagecsi-" + id[:16]}, image.ID, s.layerID(tree), string(about),
		&storage.ContainerOptions{LabelOpts: []string{"disable"}})
	if errors.Is(err, storage.ErrImageUnknown) {
		return nil, fmt.Errorf("%w: it was removed meanwhile: %w", imagestore.ErrNotFound, err)
	}
	if err != nil {
		return nil, fmt.Errorf("making a storage container that keeps the image: %w", err)
	}
	return made, nil
}

// remove removes a tree's container with its layer, or what a killed process left of the two.
func (s *Store) remove(tree string) error {
	found, err := s.ours(tree)
	if err != nil {
		return err
	}
	if found != nil {
		err = s.storage.DeleteContainer(found.ID)
	} else {
		err = s.storage.DeleteLayer(s.layerID(tree))
	}
	for _, gone := range []error{storage.ErrNotAContainer, storage.ErrContainerUnknown, storage.ErrNotALayer, storage.ErrLayerUnknown} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}

// ours returns the container that pins a tree for this driver, nil if there is none.
func (s *Store) ours(tree string) (*storage.Container, error) {
	found, err := s.storage.Container(s.pinID(tree))
	if errors.Is(err, storage.ErrContainerUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the pin of %s: %w", tree, err)
	}
	if about, ok := s.about(found.Metadata); !ok || about.Tree != tree {
		return nil, fmt.Errorf("container %s is not a pin of %s for %s; remove it if nothing uses it",
			found.ID, tree, s.driver)
	}
	return found, nil
}

// about returns a container's metadata, and reports whether it is a pin of this driver.
func (s *Store) about(text string) (metadata, bool) {
	var m metadata
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return metadata{}, false
	}
	return m, m.Driver == s.driver && m.Tree != ""
}

// Find implements imagestore.Store. It finds nothing: CRI-O's files do not show whether CRI-O runs.
func (s *Store) Find(context.Context, string) (imagestore.PinFunc, string) { return nil, "" }

// Pinned implements imagestore.Store.
func (s *Store) Pinned(ctx context.Context, treeID string) (imagestore.Tree, error) {
	return within(ctx, s, "looking for pinned tree "+treeID+" in CRI-O's store", func() (imagestore.Tree, error) {
		pinned, err := s.ours(treeID)
		if err != nil {
			return imagestore.Tree{}, err
		}
		if pinned == nil {
			return imagestore.Tree{}, fmt.Errorf("%w: CRI-O's store holds no pin of it", imagestore.ErrNotFound)
		}
		layers, err := s.pinnedLayers(pinned)
		return imagestore.Tree{ID: treeID, Layers: layers}, err
	})
}

// Pins implements imagestore.Store.
func (s *Store) Pins(ctx context.Context) ([]string, error) {
	pinned, err := s.PinnedImages(ctx)
	var trees []string
	for _, p := range pinned {
		trees = append(trees, p.Tree)
	}
	return trees, err
}

// PinnedImages implements imagestore.Store.
func (s *Store) PinnedImages(ctx context.Context) ([]imagestore.PinnedImage, error) {
	return within(ctx, s, "listing the pins of "+s.driver+" in CRI-O's store", func() ([]imagestore.PinnedImage, error) {
		containers, err := s.storage.Containers()
		if err != nil {
			return nil, err
		}
		var pinned []imagestore.PinnedImage
		used := map[string]bool{} // layers, by container
		for _, c := range containers {
			used[c.LayerID] = true
			if about, ok := s.about(c.Metadata); ok {
				pinned = append(pinned, imagestore.PinnedImage{Tree: about.Tree, Image: about.Image, Digest: about.Digest})
			}
		}
		// Listing the layers also makes the library remove incomplete ones that a killed process left.
		layers, err := s.storage.Layers()
		if err != nil {
			return nil, err
		}
		for i := range layers {
			if used[layers[i].ID] {
				continue
			}
			if tree, ok := s.unfinished(&layers[i]); ok {
				pinned = append(pinned, imagestore.PinnedImage{Tree: tree})
			}
		}
		return pinned, nil
	})
}

// unfinished reports whether a layer pins a tree, and returns the tree.
func (s *Store) unfinished(layer *storage.Layer) (tree string, ok bool) {
	if layer.Parent == "" || layer.UncompressedDigest != "" || layer.TOCDigest != "" {
		return "", false // an image's
	}
	tree, err := s.tree(layer.Parent)
	return tree, err == nil && layer.ID == s.layerID(tree)
}

// Unpin implements imagestore.Store.
func (s *Store) Unpin(ctx context.Context, treeID string) error {
	return throughout(ctx, s, "unpinning "+treeID+" in CRI-O's store", func() error {
		if err := s.remove(treeID); err != nil {
			return err
		}
		s.logger.Info("unpinned image", "tree", treeID)
		return nil
	})
}

// Collect implements imagestore.Store. The library has freed the disk when a pin is removed; images go when CRI-O removes
// them.
func (s *Store) Collect(context.Context) error { return nil }
