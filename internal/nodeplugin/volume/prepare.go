package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/quantity"
)

// prepare returns the overlay that shows a tree at the target. If the volume is writable, it has the directory that the pod has
// already, or a new one, which is returned, too.
func (n *Node) prepare(ctx context.Context, r Request, tree imagestore.Tree) (overlay hostmount.Overlay, made directory, err error) {
	overlay = hostmount.Overlay{Source: n.source + tree.ID, Layers: tree.Layers, Form: tree.Form, Empty: n.emptyDir, Target: r.Target}
	if !r.Writable {
		return overlay, "", nil
	}
	dir, id, err := n.data.find(r, tree.ID)
	isNew := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !isNew:
		return overlay, "", err
	case !isNew && id.Memory == 0:
		overlay.Upper, overlay.Work = dir.upper(), dir.work()
		return overlay, "", n.limitAgain(ctx, dir, r)
	}
	root, err := n.rootOf(ctx, r, tree)
	if err != nil {
		return overlay, "", err
	}
	if isNew {
		if id, err = n.create(ctx, r, tree, root); err != nil {
			return overlay, "", err
		}
		made = dir
	}
	if id.Memory == 0 {
		overlay.Upper, overlay.Work = dir.upper(), dir.work()
	} else {
		// What an earlier mount held is gone with it, so the limit may change now. A volume in memory always has one.
		overlay.Memory = &hostmount.Memory{At: dir.memory(), Bytes: cmp.Or(r.SizeLimit, id.Memory), Root: root}
	}
	return overlay, made, nil
}

// groupMode lets a group write in a directory, and gives it what is made there.
const groupMode = syscall.S_ISGID | 0o070

// rootOf returns the attributes for the root directory of a new writable volume, which are also the mount's: those of the
// image's root directory, as its topmost layer has them. CRI-O's may have a mode without write permission, so the owner's
// permissions are added.
func (n *Node) rootOf(ctx context.Context, r Request, tree imagestore.Tree) (hostmount.Attributes, error) {
	root, err := n.mounter.Attributes(ctx, tree.Layers[0], tree.Form)
	if err != nil {
		return root, fmt.Errorf("image %s: %w", r.Image, err)
	}
	root.Mode |= 0o700
	if r.Group != nil {
		root.GID, root.Mode = *r.Group, root.Mode|groupMode
	}
	return root, nil
}

// create makes a volume's directory. It gets its name only when it is complete.
func (n *Node) create(ctx context.Context, r Request, tree imagestore.Tree, root hostmount.Attributes) (identity, error) {
	final := n.data.directory(r.VolumeID, r.Target)
	draft := final + newSuffix
	unlock, err := n.creating.Lock(ctx, filepath.Base(string(draft)))
	if err != nil {
		return identity{}, fmt.Errorf("waiting for a clean-up of the data of volume %q: %w", r.VolumeID, err)
	}
	defer unlock()
	id := identity{VolumeID: r.VolumeID, Target: r.Target, Pod: r.Pod, Tree: tree.ID}
	if r.Form == contract.FormIDMappable {
		id.Form = r.Form
	}
	err = n.stage(ctx, draft, id, root, r)
	if errors.Is(err, ErrNoLimit) && n.limitFallback == contract.FallbackMemory && id.Form == "" {
		id.Memory = r.SizeLimit
		err = n.stage(ctx, draft, id, root, r)
	}
	if err == nil && id.Form != "" {
		err = n.copyInto(ctx, draft, tree, root, r)
	}
	if err == nil {
		err = os.Rename(string(draft), string(final))
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = n.full(r, err)
	}
	switch {
	case err == nil:
		return id, nil
	case id.Form != "":
		// A copy may be large, and ctx may have ended.
		_, aside := n.setAside(filepath.Base(string(draft)))
		return identity{}, errors.Join(err, aside)
	default:
		return identity{}, errors.Join(err, n.discard(ctx, draft))
	}
}

// full explains an error for lack of room.
func (n *Node) full(r Request, err error) error {
	if r.SizeLimit > 0 && r.Form == contract.FormIDMappable {
		return fmt.Errorf("the file system of %s, which holds the data of writable volumes, is full, or the volume's limit of %s has no room "+
			"for a copy of its image; make room there, raise the limit, or mount the image read-only: %w", n.data.root, quantity.Format(r.SizeLimit), err)
	}
	return fmt.Errorf("the file system of %s, which holds the data of writable volumes, is full; make room there, or mount "+
		"the image read-only: %w", n.data.root, err)
}

// stage makes the draft of a volume's directory, in place of one that was left.
func (n *Node) stage(ctx context.Context, draft directory, id identity, root hostmount.Attributes, r Request) error {
	if err := n.discard(ctx, draft); err != nil {
		return err
	}
	if err := draft.populate(id, root); err != nil {
		return err
	}
	switch {
	case id.Memory > 0:
		n.log.Info("keeping a volume in memory because its file system cannot limit it", "volume", r.VolumeID, "target", r.Target, "limit", id.Memory)
		return nil
	case r.SizeLimit > 0:
		return n.limit(ctx, draft, r)
	}
	return nil
}
