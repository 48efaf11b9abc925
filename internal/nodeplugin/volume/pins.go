package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/keylock"
)

// sweepPins pins again what volumes use and nothing pins, and releases the pins of trees that have been out of use long enough.
func (n *Node) sweepPins(ctx context.Context, used map[string]bool, now time.Time, after time.Duration) error {
	pins, err := n.store.Pins(ctx)
	if err != nil {
		return fmt.Errorf("listing the pinned images: %w", err)
	}
	errs := []error{n.repin(ctx, used, pins)}
	unused := slices.DeleteFunc(pins, func(tree string) bool { return used[tree] })
	n.idlePins.Update(unused, now)
	shown := maps.Clone(n.idlePins)
	n.findings.unused.Store(&shown)
	for _, tree := range unused {
		if n.idlePins.Ripe(tree, now, after) {
			errs = append(errs, n.release(ctx, tree))
		}
	}
	return errors.Join(errs...)
}

// release unpins a tree unless something has begun to use it since the sweep looked. The tree's lock is held until the unpin
// has ended, which may be after release returns. Publishes of the tree wait for it.
func (n *Node) release(ctx context.Context, tree string) error {
	unlock, ok := n.trees.TryLock(tree)
	if !ok {
		return nil // a publish is at work, or an unpin still under way
	}
	used, err := n.uses(ctx, tree)
	if used || err != nil {
		unlock()
		return err
	}
	err = keylock.RunToEnd(ctx, n.log, "an unpin", unlock, func(ctx context.Context) error { return n.unpin(ctx, tree) })
	if err != nil {
		return fmt.Errorf("releasing image tree %s: %w", tree, err)
	}
	n.idlePins.Forget(tree)
	return nil
}

// unpin has the store unpin a tree. Callers hold its lock.
func (n *Node) unpin(ctx context.Context, tree string) error {
	err := n.store.Unpin(ctx, tree)
	// Counted even if it failed: the store may have unpinned the tree and the answer was lost. Counted before the unlock, so
	// that a publish that pinned the tree in between pins it again.
	n.unpins.Add(1)
	n.uncollected.Store(true)
	if err != nil {
		return err
	}
	n.log.Info("released an image that no volume uses", "tree", tree)
	return nil
}

// uses reports whether a mount shows a tree, or data lies on top of it, now.
func (n *Node) uses(ctx context.Context, tree string) (bool, error) {
	mounts, err := n.mounter.Mounts(ctx)
	if err != nil {
		return false, fmt.Errorf("reading the mount table: %w", err)
	}
	for _, m := range mounts {
		if shown, ours := n.treeOf(m); ours && shown == tree {
			return true, nil
		}
	}
	bases, err := n.data.trees()
	return slices.Contains(bases, tree), err
}

// collect has the runtime free the disk of what was unpinned, once for all of it, because that may take as long as a sweep.
func (n *Node) collect(ctx context.Context) error {
	if !n.uncollected.Swap(false) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	if err := n.store.Collect(ctx); err != nil {
		n.uncollected.Store(true)
		return fmt.Errorf("having the runtime free the disk of released images: %w", err)
	}
	return nil
}
