package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// mappableForm is what a read-only volume in the form IDMappable shows.
type mappableForm int

const (
	linkedForm mappableForm = iota // a linked tree: it takes next to no disk, and its files are the image's own
	fileForm                       // an EROFS file: a copy
)

// mappableFormOf returns what a volume shows, by what came of a linked tree and, if there is none, of an EROFS file. The first that can be
// had is taken. An error that is no refusal may be gone at the next try, so nothing else is taken for it. If both are refused, the error has
// both reasons.
func mappableFormOf(linked, file error) (mappableForm, error) {
	switch {
	case linked == nil:
		return linkedForm, nil
	case !errors.Is(linked, hostmount.ErrNotMappable):
		return 0, linked
	case file == nil:
		return fileForm, nil
	case !errors.Is(file, hostmount.ErrNotMappable):
		return 0, file
	}
	return 0, fmt.Errorf("%w: not as a tree of links, because %s; and not as an EROFS file, because %s", hostmount.ErrNotMappable, reasonOf(linked), reasonOf(file))
}

// reasonOf returns what follows ErrNotMappable in an error.
func reasonOf(refusal error) string {
	_, reason, _ := strings.Cut(refusal.Error(), hostmount.ErrNotMappable.Error()+": ")
	return reason
}

// showMappable shows a tree in the form IDMappable. Callers hold the tree's lock.
func (n *Node) showMappable(ctx context.Context, r Request, tree imagestore.Tree) error {
	if err := n.showWhatCan(ctx, r, tree); err != nil {
		return fmt.Errorf("image %s: %w", r.Image, advised(err))
	}
	return nil
}

// showWhatCan takes what is there already. Else it has a linked tree made, or if that is refused, an EROFS file.
func (n *Node) showWhatCan(ctx context.Context, r Request, tree imagestore.Tree) error {
	place, linked := placeOf(tree)
	if linked == nil {
		linked = n.mounter.MountBind(ctx, n.bindOf(place, r, tree))
	}
	if linked == nil || (!errors.Is(linked, fs.ErrNotExist) && !errors.Is(linked, hostmount.ErrNotMappable)) {
		return linked
	}
	made, file := n.hasFile(tree.ID)
	switch {
	case file != nil:
		return file
	case made:
		return n.mountFile(ctx, r, tree)
	}
	if errors.Is(linked, fs.ErrNotExist) {
		linked = n.link(ctx, place, tree.ID)
	}
	if errors.Is(linked, hostmount.ErrNotMappable) {
		file = n.file(ctx, tree)
	}
	form, err := mappableFormOf(linked, file)
	switch {
	case err != nil:
		return err
	case form == fileForm:
		return n.mountFile(ctx, r, tree)
	}
	return n.mounter.MountBind(ctx, n.bindOf(place, r, tree))
}

// bindOf is the bind that shows a linked tree.
func (n *Node) bindOf(place linkedPlace, r Request, tree imagestore.Tree) hostmount.Bind {
	return hostmount.Bind{Store: place.store, Dir: n.dirOf(tree.ID), Target: r.Target}
}

// advised adds to an error that refuses the form IDMappable what to do.
func advised(err error) error {
	if !errors.Is(err, hostmount.ErrNotMappable) {
		return err
	}
	return fmt.Errorf("%w; volume attribute %s is %s, which pods with hostUsers: false need: use a node that can, or a pod "+
		"without hostUsers: false and the attribute", err, contract.FormAttribute, contract.FormIDMappable)
}
