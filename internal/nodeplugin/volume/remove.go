package volume

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

const (
	// openLevels is how many levels of directories are open at once in a tree that a pod made. It can be many thousands
	// deep: the kernel bounds the length of a path, but not of what is made step by step.
	openLevels = 64

	// namesAtOnce is how many names of a directory are read at once. It can have millions.
	namesAtOnce = 256
)

// removeTree removes a directory and everything in it. os.RemoveAll would open all levels at once and cannot be stopped. What
// lies too deep is moved up to the top and removed from there. Links are not followed. Mount points stay, also those of the
// same file system, with the directories that lead there. A missing directory is success.
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
			// While names are removed, not every name may have been read, and some came by being moved up.
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

// empty removes what is in a directory. After a failure it goes on with the other names. It returns how many names are gone, and
// the first failure.
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
	if err := r.moveUp(dir, name); err != nil {
		return fmt.Errorf("moving the directory %q up: %w", name, err)
	}
	return nil
}

// moveUp moves a directory to the top. The top may pass its quota's project on to what is made in it, as beneath a directory
// that an administrator limits. Then the kernel refuses directories of another project (EXDEV), such as those with a limit of
// their own or with a project that the pod set. As nothing stays in the top, it need not pass its project on.
func (r *removal) moveUp(dir *os.File, name string) error {
	to := rand.Text()
	err := unix.Renameat(int(dir.Fd()), name, int(r.top.Fd()), to)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	if kept := hostmount.KeepProject(r.top); kept != nil {
		return errors.Join(err, kept)
	}
	return unix.Renameat(int(dir.Fd()), name, int(r.top.Fd()), to)
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
			return openSameMount(parent, name)
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return nil, err
		}
		// A rename elsewhere made the kernel unsure.
	}
}

// openSameMount is openBeneath on a kernel before 5.6, or under a seccomp profile of that age.
func openSameMount(parent *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), name)
	inner, err := mountOf(dir)
	outer, outerErr := mountOf(parent)
	err = errors.Join(err, outerErr)
	if err == nil && inner != outer {
		err = unix.EXDEV
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

// mountOf returns the ID of the mount that an open file lies in, which also distinguishes two mounts of one file system
// (proc_pid_fdinfo(5), 3.15).
func mountOf(file *os.File) (string, error) {
	const key = "mnt_id:"
	path := fmt.Sprintf("/proc/self/fdinfo/%d", file.Fd())
	info, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(info)) {
		if id, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(id), nil
		}
	}
	return "", fmt.Errorf("%s has no %q", path, key)
}
