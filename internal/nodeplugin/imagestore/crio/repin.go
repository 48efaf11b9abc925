package crio

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.podman.io/storage"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// Repin implements imagestore.Store. The library keeps layers for images only, so one with these layers has to be there:
// CRI-O removes layers with the last image that has them.
func (s *Store) Repin(ctx context.Context, treeID string) error {
	_, err := within(ctx, s, "pinning tree "+treeID+" again in CRI-O's store", func() (struct{}, error) {
		image, err := s.imageOf(treeID)
		if err != nil {
			return struct{}{}, err
		}
		_, err = s.pinWhole(image, treeID, cmp.Or(slices.Concat(image.Names, []string{image.ID})...))
		return struct{}{}, err
	})
	return err
}

// imageOf finds an image with the layers of a tree. What cannot be read of others is an error only if there is none.
func (s *Store) imageOf(treeID string) (*storage.Image, error) {
	images, err := s.storage.Images()
	if err != nil {
		return nil, err
	}
	var errs []error
	for i := range images {
		if images[i].TopLayer == "" {
			continue
		}
		switch tree, err := s.tree(images[i].TopLayer); {
		case err == nil && tree == treeID:
			return &images[i], nil
		case err != nil && !errors.Is(err, imagestore.ErrUnsupported):
			errs = append(errs, fmt.Errorf("image %s: %w", images[i].ID, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("it may be one of those that cannot be read: %w", err)
	}
	return nil, fmt.Errorf("%w: no image in CRI-O's store has the layers of tree %s", imagestore.ErrNotFound, treeID)
}
