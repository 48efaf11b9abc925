package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/linktree"
	"github.com/image-csi/image-csi-operator/internal/quantity"
)

// copyTimeout ends the making of one copy. It is longer than the largest image takes on a slow disk.
const copyTimeout = 30 * time.Minute

// A writable volume in the form IDMappable binds a copy of its image, which is its upper directory: whatever is true of the data of a
// writable volume is true of the copy. The mount table shows the directory that is bound.

// copiedRoot is the root that the mount table shows of a bind of a copy, with the driver's name.
var copiedRoot = regexp.MustCompile(`/` + contract.PluginsDir + `/([^/]+)/` + dataDir + `/[0-9a-f]{64}/` + upperDir + `$`)

// copyName is the name of the directory in such a root.
var copyName = regexp.MustCompile(`/([0-9a-f]{64})/` + upperDir + `$`)

// isCopy reports whether a mount shows the copy of an image that the driver made for just this target. A mount table names no driver
// where the driver's directory is a file system of its own.
func (n *Node) isCopy(m hostmount.Mount) bool {
	found := copyName.FindStringSubmatch(m.Root)
	if found == nil {
		return false
	}
	id, err := n.data.identify(found[1])
	return err == nil && id.Form == contract.FormIDMappable && id.Target == m.Target
}

// showCopied shows a writable volume in the form IDMappable. Callers hold the tree's lock.
func (n *Node) showCopied(ctx context.Context, r Request, tree imagestore.Tree) error {
	dir, _, err := n.data.find(r, tree.ID)
	isNew := errors.Is(err, fs.ErrNotExist)
	if err == nil {
		err = n.limitAgain(ctx, dir, r)
	}
	if err != nil && !isNew {
		return err
	}
	name := filepath.Base(string(dir))
	bind := hostmount.Bind{Store: n.data.root, Dir: path.Join(name, upperDir), Writable: true, Target: r.Target}
	var made directory
	// A node that can bind no copy says so before there is one.
	err = n.mounter.MountBind(ctx, bind)
	if isNew && errors.Is(err, fs.ErrNotExist) {
		if err := n.copyImage(ctx, r, tree, name); err != nil {
			return fmt.Errorf("image %s: %w", r.Image, advised(err))
		}
		made = dir
		err = n.mounter.MountBind(ctx, bind)
	}
	return n.mounted(r, made, advised(err))
}

// copyImage has the directory of a volume made, with a copy of its image.
func (n *Node) copyImage(ctx context.Context, r Request, tree imagestore.Tree, name string) error {
	if err := n.fits(ctx, r, tree); err != nil {
		return err
	}
	return n.copying.do(ctx, name, func(ctx context.Context) error {
		return n.inTurn(ctx, n.copying, tree.ID, func() error { return n.makeCopy(ctx, r, tree) })
	})
}

// fits returns an error if a volume's limit is smaller than its image.
func (n *Node) fits(ctx context.Context, r Request, tree imagestore.Tree) error {
	if r.SizeLimit == 0 {
		return nil
	}
	size, err := n.sizes.sizeOf(ctx, n.store, tree.ID)
	if err != nil {
		return fmt.Errorf("measuring it: %w", err)
	}
	if size.Bytes > r.SizeLimit {
		return fmt.Errorf("%w: its layers have %s, a writable volume of form %s gets a copy of it, and the volume's limit is %s; raise the limit, "+
			"or mount the image read-only", ErrTooSmall, quantity.Format(size.Bytes), contract.FormIDMappable, quantity.Format(r.SizeLimit))
	}
	return nil
}

// makeCopy makes the directory of a volume.
func (n *Node) makeCopy(ctx context.Context, r Request, tree imagestore.Tree) error {
	if _, _, err := n.data.find(r, tree.ID); !errors.Is(err, fs.ErrNotExist) {
		return err // it was made since the caller looked
	}
	root, err := n.rootOf(ctx, r, tree)
	if err != nil {
		return err
	}
	_, err = n.create(ctx, r, tree, root)
	return err
}

// copyInto copies a tree to the directory of a volume, which is limited by now.
func (n *Node) copyInto(ctx context.Context, dir directory, tree imagestore.Tree, root hostmount.Attributes, r Request) error {
	size, err := n.sizes.sizeOf(ctx, n.store, tree.ID)
	if err != nil {
		return fmt.Errorf("measuring it: %w", err)
	}
	source, layers, err := n.openLayers(ctx, tree)
	if err != nil {
		return err
	}
	defer source.Close()
	into, err := os.Open(dir.upper())
	if err != nil {
		return err
	}
	defer into.Close()
	began := time.Now()
	var built linktree.Built
	err = n.mounter.FillLabelled(into, func() (err error) {
		built, err = linktree.Copy(ctx, source, layers, into, size.Bytes)
		return err
	})
	if err == nil {
		err = chown(dir.upper(), root)
	}
	if err != nil {
		return fmt.Errorf("copying it for a writable volume: %w", err)
	}
	n.log.Info("copied an image to a writable volume whose users can be mapped", "tree", tree.ID, "volume", r.VolumeID, "target", r.Target,
		"directories", built.Directories, "files", built.Files, "sharing", built.Shared, "omitted", built.Omitted,
		"took", time.Since(began).Round(time.Millisecond).String())
	return nil
}

// openLayers opens what a tree consists of: its layers, named relative to the directory that holds them, because the content of files can
// be shared from there. What has no such directory is opened as the one layer that an overlay shows.
func (n *Node) openLayers(ctx context.Context, tree imagestore.Tree) (source *os.File, layers []string, err error) {
	if place, err := placeOf(tree); err == nil {
		store, err := n.mounter.OpenStore(ctx, place.store)
		return store, place.layers, err
	}
	source, err = n.openOverlay(ctx, tree)
	return source, []string{"."}, err
}
