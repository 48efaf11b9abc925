package volume

import (
	"context"
	"errors"
	"fmt"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

// bringAndPin returns the tree to show, pinned and locked.
func (n *Node) bringAndPin(ctx context.Context, r Request) (tree imagestore.Tree, unlock func(), err error) {
	if data, ok := n.earlierData(r); ok {
		// The node restarted under the pod. The data lies on the tree that the volume started from. The pin keeps that
		// tree, whatever the image's name stands for now.
		tree, unlock, err = n.pinAndLock(ctx, r, func(ctx context.Context) (imagestore.Tree, error) { return n.keptTree(ctx, data.Tree) })
		if !errors.Is(err, imagestore.ErrNotFound) {
			return tree, unlock, err
		}
		if r.Policy == contract.PullAlways {
			r.Policy = contract.PullIfNotPresent
		}
	}
	pinImage, err := n.bring(ctx, r)
	if err != nil {
		return imagestore.Tree{}, nil, err
	}
	return n.pinAndLock(ctx, r, pinImage)
}

// bring has the image on the node, for a caller that may have it, and returns what pins it.
func (n *Node) bring(ctx context.Context, r Request) (imagestore.PinFunc, error) {
	unpins := n.unpins.Load()
	var found imagestore.PinFunc
	var digest string
	if r.Policy != contract.PullAlways {
		found, digest = n.store.Find(ctx, r.Image)
	}
	// Access is checked after the image was found, so that the check does not cover what a pull brings in between.
	wanted := r.pull()
	wanted.Held, wanted.Digest = found != nil, digest
	if err := n.images.Ensure(ctx, wanted); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (imagestore.Tree, error) {
		pinImage := func(ctx context.Context) (imagestore.Tree, error) { return n.store.Pin(ctx, r.Image) }
		if found != nil && n.unpins.Load() == unpins {
			pinImage = found
		}
		tree, err := pinImage(ctx)
		if err != nil || tree.Digest == digest {
			return tree, err
		}
		// The name leads elsewhere by now, or its target was not known. Access is checked for what it leads to now.
		digest = tree.Digest
		exactly := r.pull()
		if r.Policy == contract.PullAlways {
			exactly.Policy = contract.PullIfNotPresent
		}
		exactly.Held, exactly.Digest = true, digest
		return tree, n.images.Ensure(ctx, exactly)
	}, nil
}

// pinAndLock pins a tree and locks it. It calls pin again if a sweep may have unpinned the tree in between.
func (n *Node) pinAndLock(ctx context.Context, r Request, pin imagestore.PinFunc) (tree imagestore.Tree, unlock func(), err error) {
	for {
		unpins := n.unpins.Load()
		tree, err := pin(ctx)
		if refusal := (*imagestore.Refusal)(nil); errors.As(err, &refusal) {
			return tree, nil, refusal // it is a whole sentence
		}
		if refusal := (*pull.Error)(nil); errors.As(err, &refusal) {
			return tree, nil, refusal // and so is this
		}
		if err != nil {
			return tree, nil, fmt.Errorf("opening image %s in the runtime's store: %w", r.Image, err)
		}
		unlock, err := n.trees.Share(ctx, tree.ID)
		if err != nil {
			return tree, nil, fmt.Errorf("image %s is being released, and the container runtime has not answered yet; the next try waits again: %w", r.Image, err)
		}
		if n.unpins.Load() == unpins {
			return tree, unlock, nil
		}
		unlock()
	}
}

// pull is the request for the image of a volume.
func (r Request) pull() pull.Request {
	return pull.Request{
		Image: r.Image, Policy: r.Policy, Auths: r.Auths, Provided: r.Provided, For: r.Pod, Namespace: r.Namespace,
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
