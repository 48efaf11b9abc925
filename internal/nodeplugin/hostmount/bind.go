package hostmount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Bind is a directory of the node that is shown at a target, nosuid and nodev, and read-only unless Writable is set. Unlike an
// overlay, such a mount can be id-mapped (mount_setattr(2), MOUNT_ATTR_IDMAP), which container runtimes do for pods with their own
// users.
type Bind struct {
	// Store is the absolute path of a directory of the node. Links to it are the administrator's, and are followed.
	Store string

	// Dir is the directory to show, relative to Store. No link is followed on the way there.
	Dir string

	// Writable lets pods write in the directory.
	Writable bool

	// Target is the directory to mount on. It is made if it is missing, together with its parents.
	Target string
}

// MountBind shows a directory. Where the target shows it already, it is done. The mount is read-only before it has a place, so
// at no moment can what lies beneath be written that must not be. Errors: ErrOccupied, ErrBadTarget, ErrNotMappable, ErrBadLayer, or the kernel's
// own: fs.ErrNotExist if there is no such directory.
func (e *Engine) MountBind(ctx context.Context, b Bind) error {
	rel, err := e.beneathRoot(b.Target)
	if err != nil {
		return err
	}
	err = e.do(ctx, func() error { return e.mountBind(b, rel) })
	if err != nil && !errors.Is(err, ErrNotMappable) {
		return fmt.Errorf("mounting the directory %s of %s on %s: %w", b.Dir, b.Store, b.Target, err)
	}
	return err
}

// mountBind runs on a mount thread. The directory is looked for first: if it is missing, nothing is made.
func (e *Engine) mountBind(b Bind, rel string) error {
	mount, err := e.detachedBind(b)
	if err != nil {
		return err
	}
	defer closeFD(mount)
	return e.onTarget(rel, b.accept, func(_, target int) error { return putOn(mount, target) })
}

// detachedBind returns a descriptor of a mount that is not attached anywhere. What is mounted beneath the directory is not in it,
// and what is mounted there later does not reach it.
func (e *Engine) detachedBind(b Bind) (int, error) {
	if err := e.mappable(b); err != nil {
		return -1, err
	}
	store, err := openNodeDir(b.Store)
	if err != nil {
		return -1, err
	}
	defer closeFD(store)
	dir, err := openPlain(store, b.Dir)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EXDEV) {
		err = fmt.Errorf("%w: a part of %q is a symbolic link or not a directory: %w", ErrBadLayer, b.Dir, err)
	}
	if err != nil {
		return -1, err
	}
	defer closeFD(dir)
	mount, err := cloneMount(dir)
	if err != nil {
		return -1, err
	}
	attributes := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if !b.Writable {
		attributes.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &attributes); err != nil {
		closeFD(mount)
		return -1, explain("giving the mount its flags (mount_setattr)", err, unix.CAP_SYS_ADMIN)
	}
	return mount, nil
}

// accept reports whether a mount that was found at the target is the one asked for.
func (b Bind) accept(found Mount) error {
	if found.ReadOnly != b.Writable && strings.HasSuffix(found.Root, "/"+b.Dir) {
		return nil
	}
	return fmt.Errorf("%w: %s of %q; unmount it first", ErrOccupied, found.FSType, found.Source)
}

// OpenStore opens a directory of the node in a mount of its own, which is in no mount table, so that files in it can be linked to
// one another: the kernel links within one mount only, and a runtime may have mounted a part of its directory once more, onto
// itself. What is mounted beneath the directory is not there. The mount ends when the directory, and what was opened beneath it,
// is closed. The directory is opened to be named, not to be read. Errors: ErrNotMappable where this is of no use, or the kernel's
// own.
func (e *Engine) OpenStore(ctx context.Context, dir string) (*os.File, error) {
	var store *os.File
	err := e.do(ctx, func() error {
		if err := mapsUsers(); err != nil {
			return err
		}
		fd, err := openNodeDir(dir)
		if err != nil {
			return err
		}
		defer closeFD(fd)
		mount, err := cloneMount(fd)
		if err != nil {
			return err
		}
		store = os.NewFile(uintptr(mount), dir)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the image store's directory %s: %w", dir, err)
	}
	return store, nil
}

// OpenDir opens a directory beneath another one for reading, without following any symbolic link. Errors: the kernel's own.
func OpenDir(dir *os.File, rel string) (*os.File, error) {
	fd, err := openPlain(int(dir.Fd()), rel)
	if err != nil {
		return nil, err
	}
	defer closeFD(fd)
	return openRootOf(fd)
}

// mapsUsers returns an error if the kernel maps the users of no mount.
func mapsUsers() error {
	if errors.Is(unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}), unix.ENOSYS) {
		return fmt.Errorf("%w: its kernel is older than Linux 5.12, which is the first to map the users of a mount", ErrNotMappable)
	}
	return nil
}

// mappable returns an error where no mount of a directory can be id-mapped, or none would be readable for pods.
func (e *Engine) mappable(b Bind) error {
	err := mapsUsers()
	switch {
	case err != nil:
		return err
	case e.seLinux && !b.Writable:
		// A bind takes no context=, and a new label of its own would change the files of every container of the image. What may be written
		// is a volume's own, and has the label of volumes.
		return fmt.Errorf("%w: it has SELinux, and the labels of the image's files are shared with all containers of the image, so "+
			"they cannot be made readable for one pod", ErrNotMappable)
	default:
		return nil
	}
}

// openNodeDir opens a directory of the node by its path.
func openNodeDir(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening %s: %w", path, err)
	}
	return fd, nil
}

// cloneMount returns a mount of an open directory, without what is mounted beneath it, that is not attached anywhere.
func cloneMount(dir int) (int, error) {
	mount, err := unix.OpenTree(dir, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, explain("making a mount of a directory (open_tree)", err, unix.CAP_SYS_ADMIN)
	}
	return mount, nil
}

// putOn attaches a detached mount to a directory, which cannot have become another one meanwhile.
func putOn(mount, target int) error {
	err := unix.MoveMount(mount, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return explain("putting the mount on its target (move_mount)", err, unix.CAP_SYS_ADMIN)
	}
	return nil
}
