package crio

import (
	"context"
	"fmt"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// Size implements imagestore.Store. The library noted the size of each layer's archive when it was unpacked; it counts no
// files.
func (s *Store) Size(ctx context.Context, treeID string) (imagestore.Size, error) {
	return within(ctx, s, "reading the size of tree "+treeID+" from CRI-O's store", func() (size imagestore.Size, err error) {
		pinned, err := s.ours(treeID)
		if err != nil {
			return size, err
		}
		if pinned == nil {
			return size, fmt.Errorf("%w: CRI-O's store holds no pin of it", imagestore.ErrNotFound)
		}
		own, err := s.storage.Layer(pinned.LayerID)
		if err != nil {
			return size, fmt.Errorf("reading the layer of pin %s: %w", pinned.ID, err)
		}
		for id := own.Parent; id != ""; {
			layer, err := s.storage.Layer(id)
			if err != nil {
				return size, fmt.Errorf("reading layer %s: %w", id, err)
			}
			size.Bytes += max(layer.UncompressedSize, 0) // negative if the library does not know it
			id = layer.Parent
		}
		return size, nil
	})
}
