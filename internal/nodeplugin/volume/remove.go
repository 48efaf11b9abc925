package volume

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// openLevels is how many levels of directories are open at once in a tree that a pod made. It can be many thousands
	// deep: the kernel bounds the length of a path, but not of what is made step by step.
	openLevels = 64

	// namesAtOnce is how many names of a directory are read at once. It can have millions.
	namesAtOnce = 256
)

// removeTree removes a directory and everything in it, in place of os.RemoveAll, which opens all levels at once and cannot
// be stopped. What lies too deep is moved up to the top and removed from there. Links are not followed. What another
// file system is mounted on stays, with the directories that lead there. A directory that is not there is success.
func removeTree(ctx context.Context, path string) error {
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	defer parent.Close()
	if err := new(removal).removeDir(ctx, parent, filepath.Base(path), 0); err != nil {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return nil
}

// removal is a tree that is being removed.
type removal struct{ top *os.File }

// removeDir removes the directory called name, at a level of the tree: the top's is 0.
func (r *removal) removeDir(ctx context.Context, parent *os.File, name string, level int) error {
	dir, err := openBeneath(parent, name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening the directory %q: %w", name, err)
	}
	defer dir.Close()
	if level == 0 {
		r.top = dir
	}
	for {
		removed, failure := r.empty(ctx, dir, level)
		if err := ctx.Err(); err != nil {
			return err
		}
		err := unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.ENOTEMPTY) && removed > 0:
			// Not every name need be read while names go, and some may have come: those moved up.
		case failure != nil:
			return failure
		default:
			return fmt.Errorf("removing the directory %q: %w", name, err)
		}
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

// empty removes what is in a directory. It tells how many names are gone, and the first failure; what others can be removed
// is.
func (r *removal) empty(ctx context.Context, dir *os.File, level int) (removed int, failure error) {
	for {
		names, err := dir.Readdirnames(namesAtOnce)
		for _, name := range names {
			if ctx.Err() != nil {
				return removed, ctx.Err()
			}
			if err := r.removeName(ctx, dir, name, level); err == nil {
				removed++
			} else if failure == nil {
				failure = err
			}
		}
		if errors.Is(err, io.EOF) {
			return removed, failure
		}
		if err != nil {
			return removed, err
		}
	}
}

func (r *removal) removeName(ctx context.Context, dir *os.File, name string, level int) error {
	err := unix.Unlinkat(int(dir.Fd()), name, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR):
		return fmt.Errorf("removing %q: %w", name, err)
	case level < openLevels:
		return r.removeDir(ctx, dir, name, level+1)
	}
	if err := unix.Renameat(int(dir.Fd()), name, int(r.top.Fd()), rand.Text()); err != nil {
		return fmt.Errorf("moving the directory %q up: %w", name, err)
	}
	return nil
}

// openBeneath opens a directory in another one, without following a link or entering a mount.
func openBeneath(parent *os.File, name string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(int(parent.Fd()), name, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), name), nil
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
			return openSameDevice(parent, name)
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return nil, err
		}
		// A rename elsewhere kept the kernel from being sure.
	}
}

// openSameDevice is openBeneath on a kernel before 5.6, or under a seccomp profile of that age: a mount of the same file
// system is not told apart there.
func openSameDevice(parent *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), name)
	var inner, outer unix.Stat_t
	err = errors.Join(unix.Fstat(fd, &inner), unix.Fstat(int(parent.Fd()), &outer))
	if err == nil && inner.Dev != outer.Dev {
		err = unix.EXDEV
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}
