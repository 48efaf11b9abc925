package linktree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// maxNames is how many files with several names are remembered, so that a copy has as few files as the image. Of more than
	// these, each name gets a file of its own.
	maxNames = 100_000

	// copyAtOnce is how much of a file is read at a time.
	copyAtOnce = 256 << 10
)

// Copy fills an empty directory with a copy of what a stack of layers shows, until ctx ends. Layers are as in Build, which need not
// lie in one mount with into. Where both lie in one file system that can share the content of files (FICLONE of ioctl_ficlone(2):
// XFS, Btrfs), the copy takes next to no disk and time. Elsewhere it is not begun unless there is room for need bytes. Holes of files
// stay holes. Devices, pipes and sockets are left out: the node plugin may make none. The disk has all of it when Copy returns. Nothing of the layers changes. Errors: those of Build, or unix.ENOSPC.
func Copy(ctx context.Context, store *os.File, layers []string, into *os.File, need int64) (Built, error) {
	return copyTree(ctx, store, layers, into, &copier{root: into, need: need, names: map[inode]string{}})
}

func copyTree(ctx context.Context, store *os.File, layers []string, into *os.File, files *copier) (Built, error) {
	built, err := build(ctx, store, layers, into, files, bounds{maxEntries, maxDepth})
	if err == nil {
		// Else a power cut could leave a whole tree with empty files.
		err = unix.Syncfs(int(into.Fd()))
	}
	return built, err
}

// copier gives a tree files of its own.
type copier struct {
	root   *os.File
	need   int64
	plain  bool             // content cannot be shared
	names  map[inode]string // where the copies of files lie that have several names
	buffer []byte
}

type inode struct{ device, number uint64 }

func (*copier) attempt() string { return "copying" }

func (*copier) refusal(error) string { return "" }

func (c *copier) add(ctx context.Context, f file, built *Built) error {
	key := inode{f.stat.Dev, f.stat.Ino}
	if first, copied := c.names[key]; copied {
		err := unix.Linkat(int(c.root.Fd()), first, int(f.into.Fd()), f.name, 0)
		if err == nil {
			built.Links++
		}
		if err == nil || errors.Is(err, unix.EEXIST) {
			return err
		}
		// Its path is too long, or it has too many names: it gets a file of its own.
	}
	var err error
	switch f.stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		err = c.regular(ctx, f, built)
	case unix.S_IFLNK:
		err = symlink(f)
	default:
		built.Omitted++
		return errOmitted
	}
	if err == nil && f.stat.Nlink > 1 && len(c.names) < maxNames {
		c.names[key] = f.path
	}
	return err
}

// regular copies a file's content and attributes.
func (c *copier) regular(ctx context.Context, f file, built *Built) error {
	to, err := openFile(f.into, f.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	defer to.Close()
	from, err := openFile(f.from, f.name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer from.Close()
	shared, err := c.content(ctx, from, to, f.stat.Size)
	if err != nil {
		return err
	}
	built.Files++
	if shared {
		built.Shared++
	}
	return copyAttributes(from, to)
}

func openFile(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// content reports whether the files share their content.
func (c *copier) content(ctx context.Context, from, to *os.File, size int64) (shared bool, err error) {
	if !c.plain && size > 0 {
		err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
		if err == nil {
			return true, nil
		}
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			return false, err
		}
		c.plain = true
		if err := room(to, c.need); err != nil {
			return false, err
		}
	}
	return false, c.data(ctx, from, to, size)
}

// room returns an error if the file system of a file, or the quota that it counts for, has less than need bytes free.
func room(file *os.File, need int64) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fs); err != nil {
		return err
	}
	if free := int64(fs.Bavail) * fs.Frsize; free < need {
		return fmt.Errorf("the image has %d bytes, and %d are free: %w", need, free, unix.ENOSPC)
	}
	return nil
}

// data copies what a file has between its holes.
func (c *copier) data(ctx context.Context, from, to *os.File, size int64) error {
	if c.buffer == nil {
		c.buffer = make([]byte, copyAtOnce)
	}
	for at := int64(0); at < size; {
		begin, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole is left
		}
		if err != nil {
			return err
		}
		end, err := unix.Seek(int(from.Fd()), begin, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if err := c.span(ctx, from, to, begin, min(end, size)); err != nil {
			return err
		}
		at = end
	}
	return unix.Ftruncate(int(to.Fd()), size)
}

func (c *copier) span(ctx context.Context, from, to *os.File, at, end int64) error {
	for at < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := from.ReadAt(c.buffer[:min(int64(len(c.buffer)), end-at)], at)
		if n > 0 {
			if _, err := to.WriteAt(c.buffer[:n], at); err != nil {
				return err
			}
			at += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return nil // it is shorter than it was
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func symlink(f file) error {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.from.Fd()), f.name, target)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(string(target[:n]), int(f.into.Fd()), f.name); err != nil {
		return err
	}
	if err := unix.Fchownat(int(f.into.Fd()), f.name, int(f.stat.Uid), int(f.stat.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return unix.UtimesNanoAt(int(f.into.Fd()), f.name, []unix.Timespec{f.stat.Atim, f.stat.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}
