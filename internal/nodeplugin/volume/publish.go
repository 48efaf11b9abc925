package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

// Publish shows an image at a target directory. To publish a published volume again is success, whatever happened to its
// image in the registry since.
func (n *Node) Publish(ctx context.Context, r Request) error {
	unlock, err := n.targets.Lock(ctx, r.Target)
	if err != nil {
		return fmt.Errorf("publishing volume %q: %w", r.VolumeID, ErrInProgress)
	}
	defer unlock()

	// A mounted volume keeps its content, so neither the registry nor the runtime is asked: they may hang, and the image's
	// name may be gone or stand for something else.
	if published, err := n.published(ctx, r); published || err != nil {
		return err
	}
	if r.Refused != nil {
		return r.Refused
	}
	if published, err := n.publishLegacy(ctx, r); published || err != nil {
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

// published reports whether the volume is mounted. What this driver under another name, or the legacy driver, has mounted
// counts: the pod uses it, so it stays until the pod is gone. Anything else at the target is an error.
func (n *Node) published(ctx context.Context, r Request) (bool, error) {
	m, err := n.mountAt(ctx, r.Target)
	if err != nil || m == nil {
		return false, err
	}
	_, ours := n.treeOf(*m)
	switch {
	case !ours && (strings.HasPrefix(m.Source, sourcePrefix) || n.legacy.Owns(*m)):
		n.log.Warn("a mount of another driver serves the volume", "volume", r.VolumeID, "target", r.Target, "source", m.Source)
		return true, nil
	case !ours:
		return true, fmt.Errorf("volume %q at %s: %w, of type %s from %q, which shows something else than the image; delete the pod, "+
			"or unmount it on the node", r.VolumeID, r.Target, hostmount.ErrOccupied, m.FSType, m.Source)
	case m.ReadOnly == r.Writable:
		return true, fmt.Errorf("volume %q at %s: %w; unpublish it first", r.VolumeID, r.Target, ErrOtherAccess)
	}
	return true, nil
}

// targetLooker is a Mounter that finds the mount at one target at less cost than all of them; *hostmount.Engine is one.
type targetLooker interface {
	MountAt(ctx context.Context, target string) (*hostmount.Mount, error)
}

// mountAt returns the mount at a target, nil if there is none.
func (n *Node) mountAt(ctx context.Context, target string) (*hostmount.Mount, error) {
	if looker, ok := n.mounter.(targetLooker); ok {
		return looker.MountAt(ctx, target)
	}
	mounts, err := n.mounter.Mounts(ctx)
	for _, m := range mounts {
		if m.Target == target {
			return &m, err
		}
	}
	return nil, err
}

// bringAndMount pulls the image, pins it and mounts it.
func (n *Node) bringAndMount(ctx context.Context, r Request) error {
	policy := r.Policy
	if data, ok := n.earlierData(r); ok {
		// The node restarted under the pod. The data lies on the tree that the volume started from. The pin keeps that
		// tree, whatever the image's name stands for now.
		err := n.pinAndMount(ctx, r, func() (imagestore.Tree, error) { return n.keptTree(ctx, data.Tree) })
		if !errors.Is(err, imagestore.ErrNotFound) {
			return err
		}
		if policy == contract.PullAlways {
			policy = contract.PullIfNotPresent
		}
	}
	unpins := n.unpins.Load()
	var found imagestore.PinFunc
	var digest string
	if policy != contract.PullAlways {
		found, digest = n.store.Find(ctx, r.Image)
	}
	// Access is checked after the image was found, so that the check does not cover what a pull brings in between.
	wanted := r.pull(policy)
	wanted.Held, wanted.Digest = found != nil, digest
	if err := n.images.Ensure(ctx, wanted); err != nil {
		return err
	}
	return n.pinAndMount(ctx, r, func() (imagestore.Tree, error) {
		pin := func(ctx context.Context) (imagestore.Tree, error) { return n.store.Pin(ctx, r.Image) }
		if found != nil && n.unpins.Load() == unpins {
			pin = found
		}
		tree, err := pin(ctx)
		if err != nil || tree.Digest == digest {
			return tree, err
		}
		// The name leads elsewhere by now, or its target was not known. Access is checked for what it leads to now.
		digest = tree.Digest
		exactly := r.pull(policy)
		if policy == contract.PullAlways {
			exactly.Policy = contract.PullIfNotPresent
		}
		exactly.Held, exactly.Digest = true, digest
		return tree, n.images.Ensure(ctx, exactly)
	})
}

// pull is the request for the image of a volume.
func (r Request) pull(policy contract.PullPolicy) pull.Request {
	return pull.Request{
		Image: r.Image, Policy: policy, Auths: r.Auths, Provided: r.Provided, For: r.Pod, Namespace: r.Namespace,
		Sources: r.Sources, Unmatched: r.Unmatched,
	}
}

// keptTree returns a tree that data lies on. If the pin is lost and the layers are still there, the tree is pinned again.
func (n *Node) keptTree(ctx context.Context, id string) (imagestore.Tree, error) {
	tree, err := n.store.Pinned(ctx, id)
	if !errors.Is(err, imagestore.ErrNotFound) {
		return tree, err
	}
	if err := n.store.Repin(ctx, id); err != nil {
		return imagestore.Tree{}, err
	}
	n.findings.repinned.Add(1)
	return n.store.Pinned(ctx, id)
}

// earlierData returns the identity of a writable volume whose data is on the node already.
func (n *Node) earlierData(r Request) (identity, bool) {
	if !r.Writable {
		return identity{}, false
	}
	data, err := n.data.identify(directoryName(r.VolumeID, r.Target))
	return data, err == nil
}

// pinAndMount mounts the tree that pin returns. It calls pin again if a sweep may have unpinned the tree in between.
func (n *Node) pinAndMount(ctx context.Context, r Request, pin func() (imagestore.Tree, error)) error {
	for {
		unpins := n.unpins.Load()
		tree, err := pin()
		if refusal := (*imagestore.Refusal)(nil); errors.As(err, &refusal) {
			return refusal // it is a whole sentence
		}
		if refusal := (*pull.Error)(nil); errors.As(err, &refusal) {
			return refusal // and so is this
		}
		if err != nil {
			return fmt.Errorf("opening image %s in the runtime's store: %w", r.Image, err)
		}
		release, err := n.trees.Share(ctx, tree.ID)
		if err != nil {
			return fmt.Errorf("image %s is being released, and the container runtime has not answered yet; the next try waits again: %w", r.Image, err)
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
	var made directory
	if r.Writable {
		var err error
		if made, err = n.prepare(ctx, r, tree, &overlay); err != nil {
			return err
		}
	}
	err := n.mounter.MountOverlay(ctx, overlay)
	if err == nil {
		return nil
	}
	if made != "" && errors.Is(err, hostmount.ErrBadTarget) {
		// Nothing was mounted, and a target that is not a pod's is never unpublished or swept. Other failures leave the
		// directory to the next try, because the mount may still happen after the call has given up.
		_, takenBack := n.setAside(filepath.Base(string(made)))
		err = errors.Join(err, takenBack)
	}
	return fmt.Errorf("image %s: %w", r.Image, err)
}

// groupMode lets a group write in a directory, and gives it what is made there.
const groupMode = syscall.S_ISGID | 0o070

// prepare makes an overlay writable with the directory that the pod has already, or with a new one. It returns the new one.
func (n *Node) prepare(ctx context.Context, r Request, tree imagestore.Tree, overlay *hostmount.Overlay) (made directory, err error) {
	dir, id, err := n.data.find(r, tree.ID)
	isNew := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !isNew:
		return "", err
	case !isNew && id.Memory == 0:
		overlay.Upper, overlay.Work = dir.upper(), dir.work()
		return "", n.limitAgain(ctx, dir, r)
	}
	root, err := n.rootOf(ctx, r, tree)
	if err != nil {
		return "", err
	}
	if isNew {
		if id, err = n.create(ctx, r, tree, root); err != nil {
			return "", err
		}
		made = dir
	}
	if id.Memory == 0 {
		overlay.Upper, overlay.Work = dir.upper(), dir.work()
	} else {
		// What an earlier mount held is gone with it, so the limit may change now. A volume in memory always has one.
		overlay.Memory = &hostmount.Memory{At: dir.memory(), Bytes: cmp.Or(r.SizeLimit, id.Memory), Root: root}
	}
	return made, nil
}

// rootOf returns the attributes for the root directory of a new writable volume, which are also the mount's: those of the
// image's root directory, as its topmost layer has them. CRI-O's may have a mode without write permission, so the owner's
// permissions are added.
func (n *Node) rootOf(ctx context.Context, r Request, tree imagestore.Tree) (hostmount.Attributes, error) {
	root, err := n.mounter.Attributes(ctx, tree.Layers[0], hostmount.Form(tree.Form))
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
	err = n.stage(ctx, draft, id, root, r)
	if errors.Is(err, ErrNoLimit) && n.limitFallback == contract.FallbackMemory {
		id.Memory = r.SizeLimit
		err = n.stage(ctx, draft, id, root, r)
	}
	if err == nil {
		err = os.Rename(string(draft), string(final))
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("the file system of %s, which holds the data of writable volumes, is full; make room there, or mount "+
			"the image read-only: %w", n.data.root, err)
	}
	if err != nil {
		return identity{}, errors.Join(err, n.discard(ctx, draft))
	}
	return id, nil
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
