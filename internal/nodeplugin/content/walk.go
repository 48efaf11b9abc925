package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/words"
)

const (
	// maxEntries is how many entries of directories are looked at. The largest images that are in use have a million.
	maxEntries = 5_000_000

	// maxDepth is how deep directories may lie. It bounds the descriptors of one walk; images in use have less than a hundred.
	maxDepth = 256

	// batch is how many entries are read of a directory at a time. With maxDepth it bounds the memory of one walk.
	batch = 128

	// maxNamed bounds the path of a finding.
	maxNamed = 256
)

// finding is what a tree holds: for each kind, the path of the first file that was met. An image that is too large or too deep
// to be looked through has a reason.
type finding struct {
	first    map[contract.ImageContent]string
	tooLarge string
}

// bounds are the limits of a walk. Tests set them lower.
type bounds struct{ entries, depth int }

// walker walks through one tree by descriptors, each opened in the one before and not through a link. So it stays in the tree, and
// needs no particular mount namespace.
type walker struct {
	bounds
	found   finding
	entries int      // seen so far
	names   []string // of the directories from the root to where the walk is
}

// errEnough ends a walk that has nothing more to find.
var errEnough = errors.New("nothing more to find")

// walk looks through the tree whose root directory is given, until ctx ends.
func walk(ctx context.Context, root *os.File, within bounds) (finding, error) {
	w := walker{bounds: within, found: finding{first: map[contract.ImageContent]string{}}}
	err := w.directory(ctx, root)
	if err != nil && !errors.Is(err, errEnough) {
		return finding{}, err
	}
	return w.found, nil
}

// directory looks through a directory.
func (w *walker) directory(ctx context.Context, dir *os.File) error {
	fd := int(dir.Fd())
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		names, err := dir.Readdirnames(batch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: reading %s: %w", ErrUnreadable, w.at("."), err)
		}
		if w.entries += len(names); w.entries > w.bounds.entries {
			w.found.tooLarge = fmt.Sprintf("has more than %d files", w.bounds.entries)
			return errEnough
		}
		for _, name := range names {
			if err := w.entry(ctx, fd, name); err != nil {
				return err
			}
		}
	}
}

// entry looks at one entry of a directory, and through it if it is a directory. It asks the inode what it is: directories of an
// EROFS image that its author made may lie.
func (w *walker) entry(ctx context.Context, dir int, name string) error {
	var stat unix.Stat_t
	if err := unix.Fstatat(dir, name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%w: looking at %s: %w", ErrUnreadable, w.at(name), err)
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return w.enter(ctx, dir, name)
	case unix.S_IFCHR, unix.S_IFBLK:
		return w.note(contract.ContentDeviceNodes, name)
	case unix.S_IFREG:
		return w.file(dir, name, stat.Mode)
	default:
		return nil
	}
}

func (w *walker) enter(ctx context.Context, dir int, name string) error {
	if len(w.names) >= w.depth {
		w.found.tooLarge = fmt.Sprintf("has directories more than %d deep", w.depth)
		return errEnough
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w: opening %s: %w", ErrUnreadable, w.at(name), err)
	}
	file := os.NewFile(uintptr(fd), "directory")
	defer file.Close()
	w.names = append(w.names, name)
	err = w.directory(ctx, file)
	w.names = w.names[:len(w.names)-1]
	return err
}

// file looks at a regular file.
func (w *walker) file(dir int, name string, mode uint32) error {
	if mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		if err := w.note(contract.ContentSetIDFiles, name); err != nil {
			return err
		}
	}
	_, err := unix.Lgetxattr(descriptorPath(dir)+"/"+name, "security.capability", nil)
	switch {
	case err == nil, errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOVERFLOW):
		// The latter two are capabilities that this kernel, or this user namespace, cannot read (capabilities(7)).
		return w.note(contract.ContentFileCapabilities, name)
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return nil
	default:
		return fmt.Errorf("%w: reading the capabilities of %s: %w", ErrUnreadable, w.at(name), err)
	}
}

// note keeps the first file of each kind, and ends the walk when there is one of all.
func (w *walker) note(kind contract.ImageContent, name string) error {
	if _, noted := w.found.first[kind]; !noted {
		w.found.first[kind] = w.at(name)
	}
	if len(w.found.first) == len(kinds) {
		return errEnough
	}
	return nil
}

// at is the path of an entry where the walk is, in quotes and within bounds: an image's author chooses it.
func (w *walker) at(name string) string {
	return strconv.Quote(words.Shorten(path.Join("/", path.Join(w.names...), name), maxNamed))
}

// descriptorPath names an open file of this process.
func descriptorPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
