package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// sweepLinked removes linked trees that no volume shows, and drafts of those.
func (n *Node) sweepLinked(ctx context.Context, mounts []hostmount.Mount, now time.Time, after time.Duration) error {
	found, err := n.stores.list()
	errs := []error{err}
	shown := n.linkedShown(mounts)
	var unused []string
	for _, store := range found {
		names, err := n.linkedIn(ctx, store)
		errs = append(errs, err)
		for _, name := range names {
			if strings.HasSuffix(name, removedSuffix) {
				n.removeSoon() // left by a process that ended, or a removal that failed
			} else if !shown[name] {
				unused = append(unused, path.Join(store, name))
			}
		}
	}
	n.idleLinked.Update(unused, now)
	for _, key := range unused {
		if n.idleLinked.Ripe(key, now, after) {
			errs = append(errs, n.unlink(ctx, path.Dir(key), path.Base(key)))
		}
	}
	return errors.Join(errs...)
}

// linkedShown returns the names of the driver's linked trees that mounts show.
func (n *Node) linkedShown(mounts []hostmount.Mount) map[string]bool {
	shown := map[string]bool{}
	for _, m := range mounts {
		if driver, tree, ok := n.linkedOf(m); ok && driver == n.driver {
			shown[strings.TrimPrefix(tree, treePrefix)] = true
		}
	}
	return shown
}

// linkedIn lists what a driver has in a store. A store that has nothing, or is gone, is forgotten.
func (n *Node) linkedIn(ctx context.Context, store string) (names []string, err error) {
	n.placing.Lock()
	defer n.placing.Unlock()
	err = n.inStore(ctx, store, func(opened, dir *os.File) error {
		if names, err = dir.Readdirnames(-1); err != nil || len(names) > 0 {
			return err
		}
		return emptied(opened, path.Join(linkedDir, n.driver), linkedDir)
	})
	if errors.Is(err, fs.ErrNotExist) || (err == nil && len(names) == 0) {
		return nil, n.stores.remove(store)
	}
	return names, err
}

// emptied removes directories, the deepest first, as far as they are empty.
func emptied(dir *os.File, names ...string) error {
	for _, name := range names {
		err := unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR)
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
			return nil
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("removing the empty directory %s of %s: %w", name, dir.Name(), err)
		}
	}
	return nil
}

// inStore calls f with a store, and with the driver's directory there.
func (n *Node) inStore(ctx context.Context, store string, f func(store, dir *os.File) error) error {
	opened, err := n.mounter.OpenStore(ctx, store)
	if err != nil {
		return err
	}
	defer opened.Close()
	dir, err := hostmount.OpenDir(opened, path.Join(linkedDir, n.driver))
	if err != nil {
		return fmt.Errorf("opening the linked trees in %s: %w", store, err)
	}
	defer dir.Close()
	return f(opened, dir)
}

// unlink sets a linked tree, or the draft of one, aside, unless a publish is at work on it, or a volume shows it by now.
func (n *Node) unlink(ctx context.Context, store, name string) error {
	tree := treePrefix + strings.TrimSuffix(name, newSuffix)
	unlock, ok := n.trees.TryLock(tree)
	if !ok {
		return nil
	}
	defer unlock()
	mounts, err := n.mounter.Mounts(ctx)
	if err != nil {
		return fmt.Errorf("reading the mount table: %w", err)
	}
	if n.linkedShown(mounts)[name] {
		return nil
	}
	err = n.inStore(ctx, store, func(_, dir *os.File) error {
		return asideIn(dir, name)
	})
	if err != nil {
		return fmt.Errorf("setting the linked tree %s aside: %w", name, err)
	}
	n.idleLinked.Forget(path.Join(store, name))
	n.removeSoon()
	n.log.Info("removing the form of an image that no volume shows", "tree", tree)
	return nil
}

// removeLinkedAside removes the linked trees that were set aside.
func (n *Node) removeLinkedAside(ctx context.Context) error {
	found, err := n.stores.list()
	errs := []error{err}
	for _, store := range found {
		names, err := n.linkedIn(ctx, store)
		errs = append(errs, err)
		for _, name := range names {
			if !strings.HasSuffix(name, removedSuffix) {
				continue
			}
			errs = append(errs, n.inStore(ctx, store, func(_, dir *os.File) error {
				return new(removal).removeDir(ctx, dir, name, 0)
			}))
		}
		// What is empty now is forgotten.
		_, err = n.linkedIn(ctx, store)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
