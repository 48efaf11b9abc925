package volume

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/content"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// inspect returns an error if a tree holds what the driver's rules refuse. The look through the tree goes on when ctx ends, and
// keeps the tree's lock until then: nothing unpins what it looks through.
func (n *Node) inspect(ctx context.Context, r Request, tree imagestore.Tree) error {
	err := n.content.Check(ctx, content.Tree{
		ID:   tree.ID,
		Hold: func(ctx context.Context) (func(), error) { return n.trees.Share(ctx, tree.ID) },
		Open: func(ctx context.Context) (*os.File, error) { return n.openOverlay(ctx, tree) },
	}, r.RefusedContent)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, content.ErrRefused):
		return fmt.Errorf("image %s may not be a volume: it %w", r.Image, err)
	default:
		return fmt.Errorf("image %s: %w", r.Image, err)
	}
}

// openOverlay opens what an overlay of a tree's layers shows. No mount of it is in the mount table.
func (n *Node) openOverlay(ctx context.Context, tree imagestore.Tree) (*os.File, error) {
	return n.mounter.OpenOverlay(ctx, hostmount.Overlay{Source: n.source + tree.ID, Layers: tree.Layers, Form: tree.Form, Empty: n.emptyDir, Target: n.lookDir})
}
