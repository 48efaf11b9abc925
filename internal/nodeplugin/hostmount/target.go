package hostmount

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// lookFlags open a directory without following a symbolic link and without any right on it but to be named.
	lookFlags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_DIRECTORY | unix.O_CLOEXEC

	// targetMode is the mode of directories made on the way to a target, as the kubelet makes them.
	targetMode = 0o750
)

// beneathRoot returns target relative to the root. Nothing but a plain path beneath the root is taken: the callers
// of the CSI socket name the target.
func (e *Engine) beneathRoot(target string) (string, error) {
	if !filepath.IsAbs(target) {
		return "", fmt.Errorf("%w: %q is not absolute", ErrBadTarget, target)
	}
	if slices.Contains(strings.Split(target, "/"), "..") {
		return "", fmt.Errorf(`%w: %q contains ".."`, ErrBadTarget, target)
	}
	if strings.ContainsRune(target, 0) {
		return "", fmt.Errorf("%w: %q contains a NUL byte", ErrBadTarget, target)
	}
	rel, err := filepath.Rel(e.config.Root, target)
	if err != nil || rel == "." || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", fmt.Errorf("%w: %q is not beneath %s", ErrBadTarget, target, e.config.Root)
	}
	return rel, nil
}

// openRoot opens the root. A symbolic link there is the admin's choice and is followed.
func (e *Engine) openRoot() (int, error) {
	fd, err := unix.Open(e.config.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening the kubelet's root %s: %w; correct its path", e.config.Root, err)
	}
	return fd, nil
}

// openBeneath opens the directory at rel beneath the engine's root without following any symbolic link.
func (e *Engine) openBeneath(rel string) (int, error) {
	root, err := e.openRoot()
	if err != nil {
		return -1, err
	}
	defer closeFD(root)
	return openDir(root, rel)
}

// openDir opens the directory at rel beneath root without following any symbolic link.
func openDir(root int, rel string) (int, error) {
	fd, err := openPlain(root, rel)
	return fd, refused(err, rel)
}

// openPlain is openDir with the kernel's own errors: ELOOP, ENOTDIR and EXDEV mean that it is no plain directory.
func openPlain(root int, rel string) (int, error) {
	how := unix.OpenHow{
		Flags:   lookFlags,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(root, rel, &how)
	for errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		// A rename elsewhere made the kernel unsure.
		fd, err = unix.Openat2(root, rel, &how)
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENAMETOOLONG) {
		// A kernel before 5.6, or a seccomp profile of that age; or a path that was made step by step.
		return walk(root, rel, false)
	}
	return fd, err
}

// makeDir opens the directory at rel beneath root and makes what is missing, which is only the last one if the kubelet made
// the others. It reports whether it made the last one.
func makeDir(root int, rel string) (fd int, made bool, err error) {
	fd, err = openDir(root, rel)
	if !errors.Is(err, unix.ENOENT) {
		return fd, false, err
	}
	dir, name := path.Split(rel)
	if parent, err := openDir(root, path.Clean(dir)); err == nil {
		defer closeFD(parent)
		fd, err = step(parent, name, true)
		return fd, err == nil, refused(err, rel)
	}
	fd, err = walk(root, rel, true)
	return fd, err == nil, refused(err, rel)
}

// onTarget has attach mount on the directory at rel, which is made if it is missing. What is mounted there already is for accept to
// take or to refuse. After a failure, a directory that was made is gone again.
func (e *Engine) onTarget(rel string, accept func(Mount) error, attach func(root, target int) error) error {
	root, err := e.openRoot()
	if err != nil {
		return err
	}
	defer closeFD(root)
	target, made, err := makeDir(root, rel)
	if err != nil {
		return err
	}
	defer closeFD(target)
	found, err := mountAt(target)
	if err != nil {
		return err
	}
	if found != nil {
		return accept(*found)
	}
	err = attach(root, target)
	if err != nil && made {
		err = errors.Join(err, removeDirBeneath(root, rel))
	}
	return err
}

// walk opens rel one name at a time, making what is missing if create is set. No name is followed through a link.
func walk(root int, rel string, create bool) (int, error) {
	dir := root
	for name := range strings.SplitSeq(rel, "/") {
		next, err := step(dir, name, create)
		if dir != root {
			closeFD(dir)
		}
		if err != nil {
			return -1, err
		}
		dir = next
	}
	return dir, nil
}

func step(dir int, name string, create bool) (int, error) {
	fd, err := unix.Openat(dir, name, lookFlags, 0)
	if !create || !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	if err := unix.Mkdirat(dir, name, targetMode); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return unix.Openat(dir, name, lookFlags, 0)
}

// removeDirBeneath removes the empty directory at rel beneath root.
func removeDirBeneath(root int, rel string) error {
	dir, name := path.Split(rel)
	parent, err := openDir(root, path.Clean(dir))
	if err != nil {
		return err
	}
	defer closeFD(parent)
	return removeDir(parent, name)
}

// refused gives the errors that mean "not a plain directory" their type.
func refused(err error, rel string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EXDEV):
		return fmt.Errorf("%w: a part of %q is a symbolic link or not a directory: %w", ErrBadTarget, rel, err)
	default:
		return fmt.Errorf("opening %q beneath the kubelet's root: %w", rel, err)
	}
}
