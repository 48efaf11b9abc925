package hostmount

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// busyPatience is how long an unmount is tried again while files are in use: processes of a pod that was just
	// killed let go of theirs a moment later.
	busyPatience = 4 * time.Second

	// busyPause is the time between two tries.
	busyPause = 50 * time.Millisecond
)

// Unmount removes every mount at target, with what others mounted beneath it, and the directory. If nothing is there, that
// is success. While files are in use it tries again for a few seconds, then fails with ErrBusy. It never detaches lazily,
// because the layers of such a mount may not be freed. A directory that holds files when nothing is mounted there stays:
// ErrNotEmpty.
func (e *Engine) Unmount(ctx context.Context, target string) error {
	return e.unmount(ctx, target, removeDir)
}

// unmount is Unmount with a choice of what to do with the directory.
func (e *Engine) unmount(ctx context.Context, target string, then func(parent int, name string) error) error {
	rel, err := e.beneathRoot(target)
	if err != nil {
		return err
	}
	giveUp := time.NewTimer(busyPatience)
	defer giveUp.Stop()
	failed := func(errs ...error) error { return fmt.Errorf("unmounting %s: %w", target, errors.Join(errs...)) }
	var busy error // of the try before, for the caller if time runs out
	for {
		err := e.do(ctx, func() error { return e.unmountBeneath(rel, then) })
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrBusy) || errors.Is(err, ErrNotEmpty) {
			cleared, stays := e.clearBeneath(ctx, rel)
			switch {
			case cleared > 0:
				continue
			case errors.Is(stays, ErrBusy):
				err = stays // and so is the target
			case stays != nil && busy != nil:
				err = busy // which names what this try had no time to find
			default:
				err = errors.Join(err, stays)
			}
		}
		if !errors.Is(err, ErrBusy) {
			return failed(busy, err)
		}
		busy = err
		select {
		case <-time.After(busyPause):
		case <-giveUp.C:
			return failed(err)
		case <-ctx.Done():
			return failed(err, ctx.Err())
		}
	}
}

// unmountBeneath runs on a mount thread.
func (e *Engine) unmountBeneath(rel string, then func(parent int, name string) error) error {
	root, err := e.openRoot()
	if err != nil {
		return err
	}
	defer closeFD(root)
	return unmountAll(root, rel, then)
}

// unmountAll unmounts everything stacked at rel, and then calls then on the directory. It names the target by its parent,
// because a descriptor of the target itself would keep it busy.
func unmountAll(root int, rel string, then func(parent int, name string) error) error {
	return unmountWith(root, rel, 0, then)
}

// unmountWith is unmountAll with flags of umount2(2), beside UMOUNT_NOFOLLOW.
func unmountWith(root int, rel string, flags int, then func(parent int, name string) error) error {
	dir, name := path.Split(rel)
	parent, err := openDir(root, path.Clean(dir))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeFD(parent)
	if err := unix.Fchdir(parent); err != nil {
		return fmt.Errorf("changing to the target's parent: %w", err)
	}
	for err == nil {
		err = unix.Unmount(name, flags|unix.UMOUNT_NOFOLLOW)
	}
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return then(parent, name)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: a process has files open in it", ErrBusy)
	default:
		return explain("umount2", err, unix.CAP_SYS_ADMIN)
	}
}

// MoveDir moves the directory at target, on which nothing is mounted, to another path beneath the root. Both have to be on one
// file system, and one mount of it. Errors: ErrBusy if something is mounted there, ErrBadTarget, or the kernel's own: EXDEV
// if they are not on one file system, or in different projects of it.
func (e *Engine) MoveDir(ctx context.Context, target, to string) error {
	from, err := e.beneathRoot(target)
	if err != nil {
		return err
	}
	rel, err := e.beneathRoot(to)
	if err != nil {
		return err
	}
	if err := e.do(ctx, func() error { return e.moveDir(from, rel) }); err != nil {
		return fmt.Errorf("moving %s to %s: %w", target, to, err)
	}
	return nil
}

// moveDir runs on a mount thread.
func (e *Engine) moveDir(from, to string) error {
	root, err := e.openRoot()
	if err != nil {
		return err
	}
	defer closeFD(root)
	fromParent, err := openDir(root, path.Dir(from))
	if err != nil {
		return err
	}
	defer closeFD(fromParent)
	toParent, err := openDir(root, path.Dir(to))
	if err != nil {
		return err
	}
	defer closeFD(toParent)
	err = unix.Renameat(fromParent, path.Base(from), toParent, path.Base(to))
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}

// keepDir leaves it as it is.
func keepDir(int, string) error { return nil }

// removeDir removes an empty directory. Contents of one that nothing is mounted on are not ours to remove.
func removeDir(parent int, name string) error {
	err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: %q is not a directory", ErrBadTarget, name)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: the directory is still a mount point", ErrBusy)
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST): // the kernel may return either, see rmdir(2)
		return fmt.Errorf("%w: %w", ErrNotEmpty, err)
	default:
		return fmt.Errorf("removing the directory: %w", err)
	}
}
