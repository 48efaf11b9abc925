package hostmount

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// EROFS are layers that are EROFS images, as containerd's erofs snapshotter keeps them.
type EROFS struct{}

// open mounts each image without a place and names it by its descriptor. The kernel reads the file itself
// (EROFS_FS_BACKED_BY_FILE, 6.12): a loop device would need access to devices, which an unprivileged container has not,
// and could be leaked. Nothing is attached to the mount table, so a killed process leaves nothing either.
func (EROFS) open(images []string) (dirs []string, release func(), err error) {
	var fds descriptors
	for _, image := range images {
		fd, err := mountEROFS(image, "")
		if err != nil {
			fds.close()
			return nil, nil, fmt.Errorf("opening layer %s: %w", image, err)
		}
		fds = append(fds, fd)
		dirs = append(dirs, DescriptorPath(fd))
	}
	return dirs, fds.close, nil
}

// mountEROFS returns a descriptor of a mount of an image that is not attached anywhere. Its files get an SELinux label unless that is
// empty.
func mountEROFS(image, label string) (int, error) {
	fs, err := unix.Fsopen(erofsType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, noEROFS(err)
	}
	defer closeFD(fs)
	// fsconfig(2) takes 255 bytes, so the file is named from its directory.
	if err := unix.Chdir(path.Dir(image)); err != nil {
		return -1, err
	}
	if err := unix.FsconfigSetString(fs, "source", path.Base(image)); err != nil {
		return -1, fmt.Errorf("naming the image (fsconfig): %w%s", err, kernelMessages(fs))
	}
	if label != "" {
		if err := unix.FsconfigSetString(fs, "context", label); err != nil {
			return -1, fmt.Errorf("setting its SELinux label to %q (fsconfig): %w%s", label, err, kernelMessages(fs))
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("reading the image: %w%s", badEROFS(noEROFS(err)), kernelMessages(fs))
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return -1, fmt.Errorf("mounting the image (fsmount): %w%s", err, kernelMessages(fs))
	}
	return fd, nil
}

// noEROFS gives the errors of a kernel that lacks a part of what this form needs their type.
func noEROFS(err error) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: it has no erofs; load the module: %w", ErrNoEROFS, err)
	case errors.Is(err, unix.ENOTBLK):
		return fmt.Errorf("%w: its erofs reads devices only, and files from 6.12 (EROFS_FS_BACKED_BY_FILE): %w", ErrNoEROFS, err)
	default:
		return err
	}
}

// badEROFS gives the errors by which the kernel's erofs refuses what an image holds their type (fs/erofs/super.c).
func badEROFS(err error) error {
	for _, refusal := range []error{unix.EINVAL, unix.EUCLEAN, unix.EBADMSG, unix.EIO, unix.EOPNOTSUPP} {
		if errors.Is(err, refusal) && !errors.Is(err, ErrNoEROFS) {
			return fmt.Errorf("%w, or has features that this kernel lacks: %w", ErrBadEROFS, err)
		}
	}
	return err
}

func (EROFS) look(root int, rel string) error { return lookFile(root, rel) }

// refused knows the error of a kernel that takes no unattached mount for a layer.
func (EROFS) refused(err error) error {
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: an overlay takes unattached mounts as layers from 6.15: %w", ErrNoEROFS, err)
	}
	return err
}
