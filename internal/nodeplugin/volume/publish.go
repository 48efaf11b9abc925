package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

// Publish shows an image at a target directory. Publishing a volume that is published is success, whatever has become
// of its image in the registry since.
func (n *Node) Publish(ctx context.Context, r Request) error {
	unlock, err := n.targets.Lock(ctx, r.Target)
	if err != nil {
		return fmt.Errorf("publishing volume %q: %w", r.VolumeID, ErrInProgress)
	}
	defer unlock()

	if r.Policy == pull.Always || n.adoption.possible() {
		// A mounted volume keeps its content, so asking the registry again would be for nothing.
		if published, err := n.published(ctx, r); published || err != nil {
			return err
		}
	}
	if adopted, err := n.adopt(ctx, r); adopted || err != nil {
		return err
	}
	failure := n.bringAndMount(ctx, r)
	if failure == nil {
		return nil
	}
	n.Wake()
	if published, err := n.published(ctx, r); published {
		return err
	}
	return failure
}

// published tells whether something is mounted at the target. A mount that is not ours was made by the driver that
// this one replaces: the pod uses it, so it stays until the pod is gone.
func (n *Node) published(ctx context.Context, r Request) (bool, error) {
	mounts, err := n.mounter.Mounts(ctx)
	if err != nil {
		return false, err
	}
	for _, m := range mounts {
		if m.Target != r.Target {
			continue
		}
		if _, ours := n.treeOf(m); !ours {
			n.log.Warn("a mount of another driver serves the volume", "volume", r.VolumeID, "target", r.Target, "source", m.Source)
			return true, nil
		}
		if m.ReadOnly == r.Writable {
			return true, fmt.Errorf("volume %q at %s: %w; unpublish it first", r.VolumeID, r.Target, ErrOtherAccess)
		}
		return true, nil
	}
	return false, nil
}

// bringAndMount has the image on the node, then pinned, then mounted.
func (n *Node) bringAndMount(ctx context.Context, r Request) error {
	policy := r.Policy
	if data, ok := n.earlierData(r); ok {
		// The node restarted under the pod. Its data lies on top of the image it started from, which its pin keeps
		// whatever the image's name stands for now.
		err := n.pinAndMount(ctx, r, func() (imagestore.Tree, error) { return n.store.Pinned(ctx, data.Tree) })
		if !errors.Is(err, imagestore.ErrNotFound) {
			return err
		}
		if policy == pull.Always {
			policy = pull.IfNotPresent
		}
	}
	unpins := n.unpins.Load()
	var found imagestore.PinFunc
	if policy != pull.Always {
		found = n.store.Find(ctx, r.Image)
	}
	// Whether the caller may have the image is asked after it was found: what a pull brings meanwhile is not covered.
	ensured := n.images.Ensure(ctx, pull.Request{
		Image: r.Image, Policy: policy, Auths: r.Auths, Provided: r.Provided, For: r.Pod, Held: found != nil,
	})
	if ensured != nil {
		return ensured
	}
	return n.pinAndMount(ctx, r, func() (imagestore.Tree, error) {
		if found != nil && n.unpins.Load() == unpins {
			return found(ctx)
		}
		return n.store.Pin(ctx, r.Image)
	})
}

// earlierData tells of a writable volume whose data is on the node already.
func (n *Node) earlierData(r Request) (identity, bool) {
	if !r.Writable {
		return identity{}, false
	}
	data, err := n.data.identify(directoryName(r.VolumeID, r.Target))
	return data, err == nil
}

// pinAndMount shows the tree that pin returns, and has it returned again if a sweep may have unpinned it in between.
func (n *Node) pinAndMount(ctx context.Context, r Request, pin func() (imagestore.Tree, error)) error {
	for {
		unpins := n.unpins.Load()
		tree, err := pin()
		if err != nil {
			return fmt.Errorf("opening image %s in the runtime's store: %w", r.Image, err)
		}
		release, err := n.trees.Share(ctx, tree.ID)
		if err != nil {
			return fmt.Errorf("waiting for image %s to be released by a clean-up: %w", r.Image, err)
		}
		if n.unpins.Load() == unpins {
			defer release()
			return n.mount(ctx, r, tree)
		}
		release()
	}
}

// mount shows a pinned tree at the target. The overlay's source names the tree: from here on the mount table is what
// keeps the pin.
func (n *Node) mount(ctx context.Context, r Request, tree imagestore.Tree) error {
	overlay := hostmount.Overlay{
		Source: n.source + tree.ID,
		Layers: tree.Layers,
		Form:   hostmount.Form(tree.Form),
		Empty:  n.emptyDir,
		Target: r.Target,
	}
	var dir directory
	var made bool
	if r.Writable {
		var err error
		if dir, made, err = n.prepare(ctx, r, tree); err != nil {
			return err
		}
		overlay.Upper, overlay.Work = dir.upper(), dir.work()
	}
	err := n.mounter.MountOverlay(ctx, overlay)
	if err == nil {
		return nil
	}
	if made && errors.Is(err, hostmount.ErrBadTarget) {
		// Nothing was mounted, and a target that is not a pod's is never unpublished or swept. Other failures leave the
		// directory to the next try, for a mount may follow an answer that came too late.
		err = errors.Join(err, n.takeBack(ctx, dir))
	}
	return fmt.Errorf("image %s: %w", r.Image, err)
}

// takeBack removes a directory in which nobody has written.
func (n *Node) takeBack(ctx context.Context, dir directory) error {
	aside, err := n.data.setAside(filepath.Base(string(dir)))
	if err != nil || aside == "" {
		return err
	}
	return n.discard(ctx, aside)
}

// groupMode lets a group write in a directory, and gives it what is made there.
const groupMode = syscall.S_ISGID | 0o070

// prepare returns the directory of a writable volume, the one that the pod has already or a new one, and tells whether
// it made it.
func (n *Node) prepare(ctx context.Context, r Request, tree imagestore.Tree) (dir directory, made bool, err error) {
	dir, err = n.data.find(r, tree.ID)
	if err == nil {
		return dir, false, n.limitAgain(ctx, dir, r)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	// The upper directory gives the mount its owner and mode: those of the image's root directory, which its topmost
	// layer has. CRI-O's may be one that nobody writes; a writable volume's owner does.
	attributes, err := n.mounter.Attributes(ctx, tree.Layers[0], hostmount.Form(tree.Form))
	if err != nil {
		return "", false, fmt.Errorf("image %s: %w", r.Image, err)
	}
	attributes.Mode |= 0o700
	if r.Group != nil {
		attributes.GID, attributes.Mode = *r.Group, attributes.Mode|groupMode
	}
	return dir, true, n.create(ctx, r, tree, attributes)
}

// create makes a volume's directory, which appears under its name only when it is complete.
func (n *Node) create(ctx context.Context, r Request, tree imagestore.Tree, root hostmount.Attributes) error {
	final := n.data.of(r.VolumeID, r.Target)
	draft := final + newSuffix
	unlock, err := n.making.Lock(ctx, filepath.Base(string(draft)))
	if err != nil {
		return fmt.Errorf("waiting for a clean-up of the data of volume %q: %w", r.VolumeID, err)
	}
	defer unlock()
	err = n.discard(ctx, draft) // that of a process that was killed
	if err == nil {
		err = draft.fill(identity{VolumeID: r.VolumeID, Target: r.Target, Pod: r.Pod, Tree: tree.ID}, root)
	}
	if err == nil && r.SizeLimit > 0 {
		err = n.limit(ctx, draft, r)
	}
	if err == nil {
		err = os.Rename(string(draft), string(final))
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("the file system of %s, which holds the data of writable volumes, is full; make room there, or mount "+
			"the image read-only: %w", n.data.root, err)
	}
	if err != nil {
		return errors.Join(err, n.discard(ctx, draft))
	}
	return nil
}
