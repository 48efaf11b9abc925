package hostmount

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// takesLayersOneByOne reports whether the kernel knows the overlay parameter "lowerdir+" (6.8, and kernels into which
// vendors brought it). An older kernel takes any parameter and complains only when the file system is created; a
// newer one looks for the directory at once. A seccomp profile that denies fsopen answers EPERM: no, too.
func takesLayersOneByOne() bool {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false
	}
	defer closeFD(fs)
	return errors.Is(unix.FsconfigSetString(fs, "lowerdir+", "/nonexistent/layer"), unix.ENOENT)
}

// attachDetached builds the mount without a place and then moves it onto the target's descriptor, which cannot have
// become another directory meanwhile. All descriptors are closed when it returns: an open one keeps the mount busy.
func attachDetached(o Overlay, opts options, target int) error {
	mount, err := detachedOverlay(o, opts)
	if err != nil {
		return err
	}
	defer closeFD(mount)
	if o.writable() {
		if err := checkWritable(mount); err != nil {
			return err
		}
	}
	return putOn(mount, target)
}

// detachedOverlay returns a descriptor of a mount that is not attached anywhere.
func detachedOverlay(o Overlay, opts options) (int, error) {
	if err := unix.Chdir(opts.base); err != nil {
		return -1, fmt.Errorf("changing to the layers' directory %s: %w", opts.base, err)
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, explain("opening an overlay file system (fsopen)", err, unix.CAP_SYS_ADMIN)
	}
	defer closeFD(fs)
	if err := configure(fs, o.Source, opts); err != nil {
		return -1, err
	}
	attributes := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	if !o.writable() {
		attributes |= unix.MOUNT_ATTR_RDONLY
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return -1, fmt.Errorf("mounting the overlay (fsmount): %w%s", err, kernelMessages(fs))
	}
	return mount, nil
}

// configure sets every parameter and creates the file system.
func configure(fs int, source string, opts options) error {
	set := func(key, value string) error {
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return fmt.Errorf("setting the overlay's %s to %q in %s: %w%s", key, value, opts.base, err, kernelMessages(fs))
		}
		return nil
	}
	if err := set("source", source); err != nil {
		return err
	}
	for _, lower := range opts.lowers {
		if err := set("lowerdir+", lower); err != nil {
			return err
		}
	}
	for _, opt := range opts.rest {
		if err := set(opt.key, opt.value); err != nil {
			return err
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("creating the overlay: %w%s", err, kernelMessages(fs))
	}
	return nil
}

// kernelMessages reads the kernel's messages about a file system context, in a form to append to an error. See
// Documentation/filesystems/mount_api.rst.
func kernelMessages(fs int) string {
	var messages []string
	buffer := make([]byte, 1024)
	for range 16 {
		n, err := unix.Read(fs, buffer)
		if err != nil || n <= 0 {
			break
		}
		// The first two bytes are a severity and a space.
		messages = append(messages, strings.TrimSpace(string(buffer[min(2, n):n])))
	}
	if len(messages) == 0 {
		return ""
	}
	return " (the kernel says: " + strings.Join(messages, "; ") + ")"
}

// checkWritable fails if the file system behind fd is read-only.
func checkWritable(fd int) error {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(fd, &stat); err != nil {
		return fmt.Errorf("checking that the overlay is writable: %w", err)
	}
	if stat.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("%w although it has an upper directory: the node's security module or the container's "+
			"capabilities keep it from its work directory", ErrReadOnly)
	}
	return nil
}
