package hostmount

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// clearAtOnce is how many mounts beneath a target are unmounted before the target itself is tried again.
	clearAtOnce = 1000

	// removedMark ends the name of a mount point that was removed while something was mounted there. No path has two
	// slashes, so nothing else is named so.
	removedMark = "//deleted"
)

// mountedBeneath reports whether anything is mounted beneath the directory at rel.
func (e *Engine) mountedBeneath(ctx context.Context, rel string) (found bool, err error) {
	err = e.do(ctx, func() error {
		mounts, err := e.mounts()
		found = slices.ContainsFunc(mounts, func(m Mount) bool { return isBeneath(path.Join(e.config.Root, rel), m.Target) })
		return err
	})
	return found, err
}

// clearBeneath unmounts what others mounted beneath the directory at rel, and returns how many mounts that were. If mounts
// stay, the error names one, and why. It runs on a thread of its own, because the file systems are not ours and may hang.
func (e *Engine) clearBeneath(ctx context.Context, rel string) (int, error) {
	// The mount table answers this without access to any file system, so without waiting for one.
	if found, err := e.mountedBeneath(ctx, rel); err != nil || !found {
		return 0, err
	}
	var cleared int
	var stays error
	err := e.within(ctx, &e.clearing, func() (err error) {
		cleared, stays, err = e.clear(ctx, rel)
		return err
	}, "a file system that was mounted beneath another volume does not answer, and is still being unmounted")
	if err != nil {
		return 0, fmt.Errorf("unmounting what is mounted beneath it: %w", err)
	}
	return cleared, stays
}

// clear runs on the thread for that. It first unmounts mounts on which nothing is mounted, and goes on until none can be
// unmounted.
func (e *Engine) clear(ctx context.Context, rel string) (cleared int, stays, err error) {
	root, err := e.openRoot()
	if err != nil {
		return 0, nil, err
	}
	defer closeFD(root)
	real, err := pathOf(root)
	if err != nil {
		return 0, nil, err
	}
	mounts, err := readMountTable()
	if err != nil {
		return 0, nil, err
	}
	all := survey(mounts, path.Join(real, rel), rel)
	for again := true; again; {
		again, stays = false, nil
		for _, m := range all.leaves() {
			if ctx.Err() != nil || cleared == clearAtOnce {
				return cleared, stays, ctx.Err()
			}
			err := e.unmountNested(root, relativeTo(real, m.Target), m, all)
			if err == nil {
				all.remove(m)
				cleared, again = cleared+1, true
			} else if stays == nil || errors.Is(err, unix.EBUSY) {
				stays = fmt.Errorf("%w: %s is mounted beneath it, at %s, and stays: %w; unmount that on the node", ErrBusy, m.FSType,
					quotedPath(m.Target), why(err))
			}
		}
	}
	return cleared, stays, nil
}

// unmountNested unmounts a mount beneath a target, at rel beneath the root. It is named by its parent and not followed.
func (e *Engine) unmountNested(root int, rel string, m Mount, all nested) error {
	if strings.HasSuffix(m.Target, removedMark) {
		return errors.New("its mount point was removed")
	}
	if holder, ok := all.inside[m.parent]; ok && e.reachesFurther(holder, all) {
		if e.config.NamespaceDir == "" {
			// This namespace's mounts reach the node's by propagation only, so it cannot be kept from going further.
			return fmt.Errorf("%s, which it lies in, is mounted elsewhere as well, and it would go there, too", quotedPath(holder.Target))
		}
		if err := makePrivate(root, strings.TrimSuffix(rel, strings.TrimPrefix(m.Target, holder.Target))); err != nil {
			return fmt.Errorf("keeping what is mounted elsewhere: %w", err)
		}
	}
	dir, name := path.Split(rel)
	parent, err := openDir(root, path.Clean(dir))
	if err != nil {
		return err
	}
	defer closeFD(parent)
	if err := unix.Fchdir(parent); err != nil {
		return fmt.Errorf("changing to the directory that holds it: %w", err)
	}
	// The directory must not keep the mount that it lies in from being the next one.
	defer func() { _ = backToRoot() }()
	return unix.Unmount(name, unix.UMOUNT_NOFOLLOW)
}

// reachesFurther reports whether what is unmounted in a mount beneath a target would be unmounted outside it, too. Such a
// mount shows a directory of the node. What is mounted in the volume itself came to all its copies by propagation, and goes
// from them so.
func (e *Engine) reachesFurther(holder Mount, all nested) bool {
	if holder.peers == 0 || holder.id == all.volume.id {
		return false
	}
	// The process's own namespace does not show all that the node has.
	hidden := e.config.NamespaceDir == "" && holder.Root != "/" && holder.Device != all.volume.Device
	return hidden || all.tied[holder.peers]
}

// makePrivate keeps what is unmounted in the mount at rel beneath the root from being unmounted elsewhere.
func makePrivate(root int, rel string) error {
	dir, err := openDir(root, rel)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	if err := unix.Fchdir(dir); err != nil {
		return err
	}
	defer func() { _ = backToRoot() }()
	return unix.Mount("", ".", "", unix.MS_PRIVATE, "")
}

// why returns the reason of a failed unmount, for the administrator.
func why(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return errors.New("a process has files open in it")
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return errors.New("another mount hides it")
	default:
		return err
	}
}

// quotedPath quotes a path that a pod chose, and bounds it.
func quotedPath(p string) string {
	const most = 200
	if len(p) > most {
		return fmt.Sprintf("%.*q…", most, p)
	}
	return fmt.Sprintf("%q", p)
}

// nested are the mounts at a target and beneath it.
type nested struct {
	volume Mount         // what the others lie in, or are stacked on; the zero Mount if the volume is not mounted
	inside map[int]Mount // by ID, the volume among them
	onto   map[int]int   // by ID, how many are mounted on one
	at     map[place]int // the ID of what is mounted at a place
	tied   map[int]bool  // peer groups that have a member elsewhere
}

// place is a path in a mount.
type place struct {
	mount int
	path  string
}

// survey picks the mounts at a target and beneath it from a mount table. The target lies at rel beneath the kubelet's root:
// where the node shows that root twice, it shows the target twice, and that is not elsewhere.
func survey(mounts []Mount, target, rel string) nested {
	n := nested{inside: map[int]Mount{}, onto: map[int]int{}, at: map[place]int{}, tied: map[int]bool{}}
	for _, m := range mounts {
		switch {
		case m.Target == target || isBeneath(target, m.Target):
			n.inside[m.id] = m
			n.onto[m.parent]++
			n.at[place{m.parent, m.Target}] = m.id
		case !strings.Contains(m.Target+"/", "/"+rel+"/"):
			n.tied[m.peers], n.tied[m.master] = true, true
		}
	}
	delete(n.tied, 0)
	for _, m := range n.inside {
		if _, stacked := n.inside[m.parent]; m.Target == target && !stacked {
			n.volume = m
		}
	}
	return n
}

// remove drops a mount that is gone.
func (n nested) remove(m Mount) {
	delete(n.inside, m.id)
	delete(n.at, place{m.parent, m.Target})
	n.onto[m.parent]--
}

// leaves are the mounts on which nothing is mounted and which their path leads to, the deepest first. The volume is none.
func (n nested) leaves() []Mount {
	var leaves []Mount
	for _, m := range n.inside {
		if m.id != n.volume.id && n.onto[m.id] == 0 && !n.isHidden(m) {
			leaves = append(leaves, m)
		}
	}
	slices.SortFunc(leaves, func(a, b Mount) int {
		return cmp.Or(cmp.Compare(strings.Count(b.Target, "/"), strings.Count(a.Target, "/")), cmp.Compare(a.id, b.id))
	})
	return leaves
}

// isHidden reports whether a path leads to another mount: something was mounted later on a directory above it.
func (n nested) isHidden(m Mount) bool {
	for {
		holder, ok := n.inside[m.parent]
		if !ok || holder.id == m.id {
			// What was mounted in the target's directory before the volume.
			return n.volume.id != 0 && m.id != n.volume.id
		}
		for above := m.Target; above != holder.Target && above != "/"; {
			above = path.Dir(above)
			if _, covered := n.at[place{holder.id, above}]; covered {
				return true
			}
		}
		m = holder
	}
}
