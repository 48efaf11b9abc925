package hostmount

import (
	"context"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// File is an EROFS image in a file of the node that is shown at a target, read-only, nosuid and nodev, with the label for volumes where
// SELinux is enabled. Like a Bind and unlike an overlay, such a mount can be id-mapped.
type File struct {
	// Path is the file's absolute path. Its last part is the mount's source string, which mountinfo shows: at most 255 bytes.
	Path string

	// Target is the directory to mount on. It is made if it is missing, together with its parents.
	Target string
}

// MountFile shows a file's image. Where the target shows it already, it is done. Mounts of one file share their memory where the label
// is of no matter. Errors: ErrOccupied, ErrBadTarget, ErrNoEROFS, ErrBadEROFS, or the kernel's own: fs.ErrNotExist if there is no such
// file.
func (e *Engine) MountFile(ctx context.Context, f File) error {
	rel, err := e.beneathRoot(f.Target)
	if err != nil {
		return err
	}
	if err := e.do(ctx, func() error { return e.mountFile(f, rel) }); err != nil {
		return fmt.Errorf("mounting the file %s on %s: %w", f.Path, f.Target, err)
	}
	return nil
}

// mountFile runs on a mount thread. The mount is made first: if there is no file, nothing is made.
func (e *Engine) mountFile(f File, rel string) error {
	mount, err := e.detachedFile(f)
	if err != nil {
		return err
	}
	defer closeFD(mount)
	return e.onTarget(rel, f.accept, func(_, target int) error { return putOn(mount, target) })
}

// detachedFile returns a descriptor of a mount that is not attached anywhere. A mount of its own has a file system of its own, which
// reads and caches the file once more. So it is another one of a mount that is there, unless that may have another label.
func (e *Engine) detachedFile(f File) (int, error) {
	if !e.seLinux {
		if mount, found := e.again(f); found {
			return mount, nil
		}
	}
	return mountEROFS(f.Path, e.label())
}

// again returns another mount of a file that is mounted beneath the root, if there is one. A file's name tells its content.
func (e *Engine) again(f File) (int, bool) {
	mounts, err := e.mounts()
	if err != nil {
		return -1, false
	}
	for _, m := range mounts {
		if f.accept(m) != nil || m.Root != "/" || !isBeneath(e.config.Root, m.Target) {
			continue
		}
		if mount, err := e.another(m); err == nil {
			return mount, true
		}
	}
	return -1, false
}

// another returns one mount more of the file system that is mounted, which is not attached anywhere.
func (e *Engine) another(m Mount) (int, error) {
	root, err := e.openRoot()
	if err != nil {
		return -1, err
	}
	defer closeFD(root)
	dir, err := openDir(root, relativeTo(e.config.Root, m.Target))
	if err != nil {
		return -1, err
	}
	defer closeFD(dir)
	var stat unix.Stat_t
	if err := unix.Fstat(dir, &stat); err != nil {
		return -1, err
	}
	if uint64(stat.Dev) != m.Device { //nolint:unconvert // 32 bits on some architectures
		return -1, errors.New("another mount hides it")
	}
	mount, err := cloneMount(dir)
	if err != nil {
		return -1, err
	}
	attributes := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &attributes); err != nil {
		closeFD(mount)
		return -1, err
	}
	return mount, nil
}

// accept reports whether a mount that was found at the target is the one asked for.
func (f File) accept(found Mount) error {
	if found.FSType == erofsType && found.Source == path.Base(f.Path) && found.ReadOnly {
		return nil
	}
	return fmt.Errorf("%w: %s of %q; unmount it first", ErrOccupied, found.FSType, found.Source)
}

// erofsType is the type of file system that images have.
const erofsType = "erofs"

// IsFile reports whether a mount shows an EROFS image.
func (m Mount) IsFile() bool { return m.FSType == erofsType }

// MountsFiles returns ErrNotMappable, with the reason, where no EROFS image that is a file can be mounted, or the users of none can be
// mapped. The file has an image.
func (e *Engine) MountsFiles(ctx context.Context, file string) error {
	return e.do(ctx, func() error {
		if err := mapsUsers(); err != nil {
			return err
		}
		mount, err := mountEROFS(file, e.label())
		switch {
		case err == nil:
			closeFD(mount)
			return nil
		case errors.Is(err, ErrNoEROFS), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
			return fmt.Errorf("%w: its kernel mounts no EROFS image that is a file, for which it takes Linux 6.12 or newer with erofs and "+
				"EROFS_FS_BACKED_BY_FILE (%v)", ErrNotMappable, err)
		case errors.Is(err, unix.EACCES):
			return fmt.Errorf("%w: its SELinux policy lets the node plugin mount no EROFS image with the label %s", ErrNotMappable, e.label())
		default:
			return fmt.Errorf("trying whether the kernel mounts files: %w", err)
		}
	})
}
