package volume

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
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
	failure := n.show(ctx, r)
	if failure == nil {
		return nil
	}
	n.Wake()
	if published, err := n.published(ctx, r); published {
		return err
	}
	return failure
}

// show brings a volume's image to the node, pins its tree, looks through it if the driver's rules want that, prepares the mount and
// mounts. The tree stays locked meanwhile.
func (n *Node) show(ctx context.Context, r Request) error {
	tree, unlock, err := n.bringAndPin(ctx, r)
	if err != nil {
		return err
	}
	defer unlock()
	if err := n.inspect(ctx, r, tree); err != nil {
		return err
	}
	switch {
	case r.Form == contract.FormIDMappable && r.Writable:
		return n.showCopied(ctx, r, tree)
	case r.Form == contract.FormIDMappable:
		return n.showMappable(ctx, r, tree)
	}
	overlay, made, err := n.prepare(ctx, r, tree)
	if err != nil {
		return err
	}
	return n.mount(ctx, r, overlay, made)
}

// mount mounts what was prepared. The overlay's source names the tree: from here on the mount table is what keeps it pinned.
func (n *Node) mount(ctx context.Context, r Request, overlay hostmount.Overlay, made directory) error {
	err := n.mounter.MountOverlay(ctx, overlay)
	return n.mounted(r, made, err)
}

// mounted returns the error of a mount. made is the volume's directory, if it is new.
func (n *Node) mounted(r Request, made directory, err error) error {
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

// published reports whether the volume is mounted. What this driver under another name, or the legacy driver, has mounted
// counts: the pod uses it, so it stays until the pod is gone. Anything else at the target is an error.
func (n *Node) published(ctx context.Context, r Request) (bool, error) {
	m, err := n.mountAt(ctx, r.Target)
	if err != nil || m == nil {
		return false, err
	}
	ours := n.isOurs(*m)
	switch {
	case !ours && (n.isOthers(*m) || n.legacy.Owns(*m)):
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
