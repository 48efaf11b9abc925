package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// maxTargets bounds the volumes that one line of the log names.
const maxTargets = 20

// repin pins again the trees that volumes use and nothing pins any more: another program has removed a pin, or the runtime
// has, as CRI-O's repair of its store does. Trees whose layers are gone, too, are logged once.
func (n *Node) repin(ctx context.Context, used map[string]bool, pins []string) error {
	var errs []error
	lost := map[string]bool{}
	for _, tree := range slices.Sorted(maps.Keys(used)) {
		if slices.Contains(pins, tree) {
			continue
		}
		switch err := n.repinTree(ctx, tree); {
		case errors.Is(err, imagestore.ErrNotFound):
			lost[tree] = true
			if !n.lostTrees[tree] {
				n.log.Error("the layers of an image are gone from the node while volumes use it, so they look empty; delete their pods",
					"tree", tree, "targets", n.targetsOf(ctx, tree), "error", err)
			}
		case err != nil:
			errs = append(errs, fmt.Errorf("pinning image tree %s again: %w", tree, err))
		}
	}
	n.lostTrees = lost
	return errors.Join(errs...)
}

// repinTree pins a tree again unless it is out of use by now, or its lock is held: a publish pins it itself, and after an unpin
// that is still under way the next sweep looks again.
func (n *Node) repinTree(ctx context.Context, tree string) error {
	unlock, ok := n.trees.TryLock(tree)
	if !ok {
		return nil
	}
	defer unlock()
	if used, err := n.uses(ctx, tree); !used {
		return err
	}
	if err := n.store.Repin(ctx, tree); err != nil {
		return err
	}
	n.findings.repinned.Add(1)
	n.log.Warn("an image that volumes use had lost its pin, which keeps it from garbage collection; it is pinned again", "tree", tree)
	return nil
}

// targetsOf lists where a tree is mounted, for the log.
func (n *Node) targetsOf(ctx context.Context, tree string) (targets []string) {
	mounts, err := n.mounter.Mounts(ctx)
	if err != nil {
		return nil
	}
	for _, m := range mounts {
		if shown, ours := n.treeOf(m); ours && shown == tree && len(targets) < maxTargets {
			targets = append(targets, m.Target)
		}
	}
	return targets
}
