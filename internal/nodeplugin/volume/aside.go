package volume

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recoverpanic"
)

// setAside renames a directory away, for Run to remove it. It reports whether the directory was there.
func (n *Node) setAside(name string) (bool, error) {
	had, err := n.data.renameAway(name)
	if had {
		n.removeSoon()
	}
	return had, err
}

// removeSoon asks Run to remove what was set aside.
func (n *Node) removeSoon() {
	select {
	case n.aside <- struct{}{}:
	default:
	}
}

// removals removes what was set aside, until ctx ends. How long that takes depends on what pods wrote, so neither the kubelet
// nor a sweep waits for it.
func (n *Node) removals(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.aside:
			err := recoverpanic.Guard(n.log, "a removal", func() error { return n.removeAside(ctx) })
			if err != nil && ctx.Err() == nil {
				n.log.Warn("data of volumes that are gone could not be removed; it is tried again after the next sweep", "error", err)
			}
		}
	}
}

// removeAside removes all directories that were set aside.
func (n *Node) removeAside(ctx context.Context) error {
	n.removing.Lock()
	defer n.removing.Unlock()
	found, err := n.data.list()
	errs := []error{err}
	for _, name := range found.aside {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, n.discard(ctx, directory(filepath.Join(n.data.root, name))))
	}
	return errors.Join(append(errs, n.removeLinkedAside(ctx))...)
}

// discard removes a directory of the data. Before that it removes the limit, and unmounts what a killed process left of a
// volume in memory: no pod writes there any more. If the process is killed in between, a sweep discards the directory again.
func (n *Node) discard(ctx context.Context, dir directory) error {
	if dir.inMemory() {
		if err := n.mounter.Unmount(ctx, dir.memory()); err != nil {
			return err
		}
	}
	return errors.Join(n.mounter.Unlimit(ctx, dir.work()), removeTree(ctx, string(dir)))
}
