package linktree

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// overlayPrefix starts the attributes by which overlays keep what is more than files: opaque directories, directories that were
// renamed, files that have their content in another layer.
const overlayPrefix = "trusted.overlay."

// isOpaque reports whether a layer's directory hides those beneath it. It is an error if only an overlay can show the directory.
func isOpaque(dir *os.File) (bool, error) {
	value, has, err := attribute(dir, overlayPrefix+"opaque")
	if err != nil {
		return false, err
	}
	if has && value != "y" {
		return false, fmt.Errorf("%w: a layer has whiteouts that only an overlay can read", hostmount.ErrNotMappable)
	}
	_, renamed, err := attribute(dir, overlayPrefix+"redirect")
	if renamed {
		err = fmt.Errorf("%w: a layer has a directory that was renamed, which only an overlay can show", hostmount.ErrNotMappable)
	}
	return has, err
}

// isWhole returns an error for a file of a layer that has its content in another layer.
func isWhole(dir *os.File, name string) error {
	_, err := unix.Lgetxattr(hostmount.DescriptorPath(int(dir.Fd()))+"/"+name, overlayPrefix+"metacopy", nil)
	switch {
	case err == nil:
		return fmt.Errorf("%w: a layer has a file with its content in another layer, which only an overlay can show", hostmount.ErrNotMappable)
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP):
		return nil
	default:
		return err
	}
}

// capabilities is the attribute with a file's capabilities. They have no effect in a volume, which is nosuid.
const capabilities = "security.capability"

// copyAttributes gives a directory or file the owner, mode, attributes and times of another. The owner comes first: a change of owner takes bits of the mode, and capabilities, away.
func copyAttributes(from, to *os.File) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &stat); err != nil {
		return err
	}
	if err := chown(to, stat); err != nil {
		return err
	}
	found, err := Attributes(from)
	if err != nil {
		return err
	}
	for name, value := range found {
		err := unix.Fsetxattr(int(to.Fd()), name, []byte(value), 0)
		if errors.Is(err, unix.EPERM) && name == capabilities {
			continue // the driver does without SETFCAP
		}
		if err != nil {
			return fmt.Errorf("giving it its attribute %s: %w", name, err)
		}
	}
	times := []unix.Timespec{stat.Atim, stat.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, hostmount.DescriptorPath(int(to.Fd())), times, 0); err != nil {
		return fmt.Errorf("giving it its times: %w", err)
	}
	return nil
}

// Attributes returns the extended attributes of an open file that are its image's: not those of overlays and of security modules.
func Attributes(file *os.File) (map[string]string, error) {
	names, err := attributes(file)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, name := range names {
		if !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") && name != capabilities {
			continue
		}
		value, has, err := attribute(file, name)
		if err != nil {
			return nil, err
		}
		if has {
			found[name] = value
		}
	}
	return found, nil
}

// chown gives a directory or file an owner and a mode. The kernel leaves a set-group-ID bit out without an error where the caller
// may not keep it. In a volume, which is nosuid, that of a file has no effect.
func chown(to *os.File, want unix.Stat_t) error {
	err := unix.Fchown(int(to.Fd()), int(want.Uid), int(want.Gid))
	if err == nil {
		err = unix.Fchmod(int(to.Fd()), want.Mode&0o7777)
	}
	var got unix.Stat_t
	if err == nil {
		err = unix.Fstat(int(to.Fd()), &got)
	}
	lost := err == nil && got.Mode != want.Mode && want.Mode&unix.S_IFMT == unix.S_IFDIR
	if errors.Is(err, unix.EPERM) || lost {
		return fmt.Errorf("%w: it has directories whose owner or mode the node plugin may not give to others; it lacks CHOWN or FSETID "+
			"(spec.volumes.access: ReadOnly takes both away)", hostmount.ErrNotMappable)
	}
	if err != nil {
		return fmt.Errorf("giving it its owner and mode: %w", err)
	}
	return nil
}

// attribute returns the value of an open file's attribute, if it has it.
func attribute(file *os.File, name string) (value string, has bool, err error) {
	read := func(into []byte) (int, error) { return unix.Fgetxattr(int(file.Fd()), name, into) }
	found, err := sized(read)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("reading its attribute %s: %w", name, err)
	}
	return string(found), true, nil
}

// attributes lists the names of an open file's attributes.
func attributes(file *os.File) ([]string, error) {
	list, err := sized(func(into []byte) (int, error) { return unix.Flistxattr(int(file.Fd()), into) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing its attributes: %w", err)
	}
	var names []string
	for name := range bytes.SplitSeq(list, []byte{0}) {
		if len(name) > 0 {
			names = append(names, string(name))
		}
	}
	return names, nil
}

// sized calls a function that fills a buffer, which it asks for the size first (xattr(7): at most 64 KiB).
func sized(read func([]byte) (int, error)) ([]byte, error) {
	size, err := read(nil)
	if err != nil || size == 0 {
		return nil, err
	}
	buffer := make([]byte, size)
	n, err := read(buffer)
	if err != nil {
		return nil, err
	}
	return buffer[:n], nil
}
