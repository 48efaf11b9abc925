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

// metadata is what a pin's container says about itself. It must have neither of the keys "pod-name" and "pod-id", by
// which CRI-O knows its own containers, and must be a JSON object, or CRI-O logs a warning at every start.
type metadata struct {
	Driver string `json:"imagecsi.dev/driver"`
	Tree   string `json:"imagecsi.dev/tree"`
	Image  string `json:"imagecsi.dev/image"` // the image it was first pinned for, for people
}

// pinID is the ID of a tree's container: 64 hexadecimal digits, as CRI-O's have.
func (s *Store) pinID(tree string) string {
	sum := sha256.Sum256([]byte("imagecsi\x00" + s.driver + "\x00" + tree))
	return hex.EncodeToString(sum[:])
}

// Pin implements imagestore.Store.
func (s *Store) Pin(ctx context.Context, reference string) (imagestore.Tree, error) {
	return within(ctx, "pinning image "+reference+" in CRI-O's store", func() (imagestore.Tree, error) {
		image, err := s.image(reference)
		if err != nil {
			return imagestore.Tree{}, err
		}
		tree, err := s.tree(image.TopLayer)
		if err != nil {
			return imagestore.Tree{}, err
		}
		pinned, err := s.pin(image, tree, reference)
		if err != nil {
			return imagestore.Tree{}, err
		}
		layers, err := s.pinnedLayers(pinned)
		return imagestore.Tree{ID: tree, Layers: layers}, err
	})
}

// pin returns the tree's container, made now if there is none. Another image with equal layers may have been pinned
// first; its layers serve as well.
func (s *Store) pin(image *storage.Image, tree, reference string) (*storage.Container, error) {
	found, err := s.ours(tree)
	if err != nil || found != nil {
		return found, err
	}
	about, err := json.Marshal(metadata{Driver: s.driver, Tree: tree, Image: reference})
	if err != nil {
		return nil, err
	}
	id := s.pinID(tree)
	made, err := s.storage.CreateContainer(id, []string{"imagecsi-" + id[:16]}, image.ID, "", string(about),
		&storage.ContainerOptions{LabelOpts: []string{"disable"}})
	switch {
	case errors.Is(err, storage.ErrDuplicateID), errors.Is(err, storage.ErrDuplicateName):
		// Another call was faster.
		found, again := s.ours(tree)
		if again == nil && found == nil {
			again = err
		}
		return found, again
	case errors.Is(err, storage.ErrImageUnknown):
		return nil, fmt.Errorf("%w: it was removed meanwhile: %w", imagestore.ErrNotFound, err)
	case err != nil:
		return nil, fmt.Errorf("making a storage container that keeps the image: %w", err)
	}
	s.logger.Info("pinned image", "image", reference, "tree", tree, "container", id)
	return made, nil
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

// about reads a container's metadata and tells whether it is a pin of this driver.
func (s *Store) about(text string) (metadata, bool) {
	var m metadata
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return metadata{}, false
	}
	return m, m.Driver == s.driver && m.Tree != ""
}

// Pinned implements imagestore.Store.
func (s *Store) Pinned(ctx context.Context, treeID string) (imagestore.Tree, error) {
	return within(ctx, "looking for pinned tree "+treeID+" in CRI-O's store", func() (imagestore.Tree, error) {
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
	return within(ctx, "listing the pins of "+s.driver+" in CRI-O's store", func() ([]string, error) {
		containers, err := s.storage.Containers()
		if err != nil {
			return nil, err
		}
		var trees []string
		for _, c := range containers {
			if about, ok := s.about(c.Metadata); ok {
				trees = append(trees, about.Tree)
			}
		}
		return trees, nil
	})
}

// Unpin implements imagestore.Store.
func (s *Store) Unpin(ctx context.Context, treeID string) error {
	_, err := within(ctx, "unpinning "+treeID+" in CRI-O's store", func() (struct{}, error) {
		found, err := s.ours(treeID)
		if err != nil || found == nil {
			return struct{}{}, err
		}
		err = s.storage.DeleteContainer(found.ID)
		if err == nil {
			s.logger.Info("unpinned image", "tree", treeID, "container", found.ID)
		} else if errors.Is(err, storage.ErrNotAContainer) || errors.Is(err, storage.ErrContainerUnknown) {
			err = nil
		}
		return struct{}{}, err
	})
	return err
}
