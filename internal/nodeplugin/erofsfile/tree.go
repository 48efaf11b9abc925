package erofsfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/erofs/go-erofs"
	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/linktree"
)

// tree shows a directory to the library, which asks for one file after the other and keeps what it is told.
type tree struct {
	ctx     context.Context //nolint:containedctx // the interfaces of io/fs have none
	root    *os.File
	image   *erofs.Writer
	within  bounds
	entries int
	length  int64
	inline  int64
	names   map[inode]*names
	written Written
}

// inode tells files apart.
type inode struct{ device, number uint64 }

// names are the names of a file that may have several.
type names struct {
	first   string
	further []string
}

// Open implements fs.FS, for files with contents, which are opened when they are read.
func (t *tree) Open(name string) (fs.File, error) {
	return &contents{tree: t, name: name}, nil
}

// Stat implements fs.StatFS, for the root.
func (t *tree) Stat(name string) (fs.FileInfo, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(t.root.Fd()), &stat); err != nil {
		return nil, err
	}
	return t.describe(entry{path: name, stat: stat})
}

// ReadDir implements fs.ReadDirFS. The library has the directory by now, so it is told how many directories lie in it.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	dir, err := hostmount.OpenDir(t.root, name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if strings.Count(name, "/")+1 > t.within.depth {
		return nil, fmt.Errorf("%w: it has directories more than %d deep", ErrTooLarge, t.within.depth)
	}
	var found []fs.DirEntry
	links := uint32(2)
	for {
		if err := t.ctx.Err(); err != nil {
			return nil, err
		}
		names, err := dir.Readdirnames(batch)
		if errors.Is(err, io.EOF) {
			return found, t.image.SetNlink(name, links)
		}
		if err != nil {
			return nil, err
		}
		if t.entries += len(names); t.entries > t.within.entries {
			return nil, fmt.Errorf("%w: it has more than %d files", ErrTooLarge, t.within.entries)
		}
		for _, base := range names {
			e := entry{tree: t, path: path.Join(name, base)}
			if err := unix.Fstatat(int(dir.Fd()), base, &e.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return nil, fmt.Errorf("looking at %q: %w", e.path, err)
			}
			if e.IsDir() {
				links++
			}
			found = append(found, e)
		}
	}
}

// batch is how many entries are read of a directory at a time.
const batch = 128

// ReadLink returns where a symbolic link leads.
func (t *tree) ReadLink(name string) (string, error) {
	dir, base, err := t.parent(name)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(dir.Fd()), base, target)
	if err != nil {
		return "", err
	}
	return string(target[:n]), nil
}

// parent opens the directory of a file.
func (t *tree) parent(name string) (dir *os.File, base string, err error) {
	above, base := path.Split(name)
	dir, err = hostmount.OpenDir(t.root, path.Clean(above))
	return dir, base, err
}

// open opens a file for reading.
func (t *tree) open(name string) (*os.File, error) {
	dir, base, err := t.parent(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// entry is a name in a directory.
type entry struct {
	tree *tree
	path string
	stat unix.Stat_t
}

// The methods of fs.DirEntry.

func (e entry) Name() string               { return path.Base(e.path) }
func (e entry) IsDir() bool                { return e.stat.Mode&unix.S_IFMT == unix.S_IFDIR }
func (e entry) Type() fs.FileMode          { return modeOf(e.stat.Mode).Type() }
func (e entry) Info() (fs.FileInfo, error) { return e.tree.describe(e) }

// describe says what the library is to write for a name. Of a file that has several, only the first one gets contents.
func (t *tree) describe(e entry) (fs.FileInfo, error) {
	d := description{entry: e, size: e.stat.Size, sys: erofs.Stat{
		UID: e.stat.Uid, GID: e.stat.Gid, Mtime: uint64(e.stat.Mtim.Sec), MtimeNs: uint32(e.stat.Mtim.Nsec), Rdev: uint32(e.stat.Rdev), Nlink: 1,
	}}
	if e.IsDir() {
		t.written.Directories++
	} else if t.written.Files++; t.isFurther(e) {
		t.written.Linked++
		d.size = 0
		return &d, nil
	}
	if err := t.count(d.size); err != nil {
		return nil, err
	}
	var err error
	d.sys.Xattrs, err = t.attributes(e)
	if err != nil {
		return nil, fmt.Errorf("reading the attributes of %q: %w", e.path, err)
	}
	return &d, nil
}

// count holds the bounds on contents.
func (t *tree) count(size int64) error {
	t.length += size
	if size < int64(os.Getpagesize()) {
		t.inline += size
	}
	switch {
	case t.length > t.within.length:
		return fmt.Errorf("%w: its files have more than %d GiB, holes included", ErrTooLarge, t.within.length>>30)
	case t.inline > t.within.inline:
		return fmt.Errorf("%w: its small files have more than %d MiB", ErrTooLarge, t.within.inline>>20)
	}
	return nil
}

// isFurther reports whether a file was seen by another name, and notes this one.
func (t *tree) isFurther(e entry) bool {
	if e.stat.Nlink < 2 {
		return false
	}
	key := inode{e.stat.Dev, e.stat.Ino}
	if known, ok := t.names[key]; ok {
		known.further = append(known.further, e.path)
		return true
	}
	t.names[key] = &names{first: e.path}
	return false
}

// countNames gives files that have several names their number. What a store has besides, such as a linked tree, does not count.
func (t *tree) countNames() error {
	for key, n := range t.names {
		if len(n.further) == 0 {
			delete(t.names, key)
		} else if err := t.image.SetNlink(n.first, uint32(len(n.further)+1)); err != nil {
			return err
		}
	}
	return nil
}

// attributes returns the image's own attributes of a file, as the library takes them: it knows those of access control lists by a name that
// ends in a dot, and writes any other name as none that a kernel shows.
func (t *tree) attributes(e entry) (map[string]string, error) {
	if kind := e.stat.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return nil, nil //nolint:nilnil // others have none of the image's
	}
	file, err := t.open(e.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	found, err := linktree.Attributes(file)
	if err != nil {
		return nil, err
	}
	for name, value := range found {
		if len(value) > maxValue {
			return nil, fmt.Errorf("%w: %s has %d bytes, and the format holds %d", ErrTooLarge, name, len(value), maxValue)
		}
		if strings.HasPrefix(name, "system.posix_acl_") {
			delete(found, name)
			found[name+"."] = value
		}
	}
	return found, nil
}

// maxValue is the longest value of an attribute in the format. Linux has one byte more.
const maxValue = 1<<16 - 1

// description implements fs.FileInfo.
type description struct {
	entry
	size int64
	sys  erofs.Stat
}

func (d *description) Size() int64        { return d.size }
func (d *description) Mode() fs.FileMode  { return modeOf(d.stat.Mode) }
func (d *description) ModTime() time.Time { return time.Unix(d.stat.Mtim.Unix()) }
func (d *description) Sys() any           { return &d.sys }

// modeOf translates a mode of stat(2).
func modeOf(mode uint32) fs.FileMode {
	translated := fs.FileMode(mode & 0o777)
	for bit, is := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if mode&bit != 0 {
			translated |= is
		}
	}
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		translated |= fs.ModeDir
	case unix.S_IFLNK:
		translated |= fs.ModeSymlink
	case unix.S_IFCHR:
		translated |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		translated |= fs.ModeDevice
	case unix.S_IFIFO:
		translated |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		translated |= fs.ModeSocket
	}
	return translated
}
