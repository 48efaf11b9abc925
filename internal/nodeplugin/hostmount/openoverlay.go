package hostmount

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenOverlay mounts a read-only overlay for a look at what it shows, and returns its root directory, open for reading. The mount
// ends when that directory, and what was opened beneath it, is closed, so a process that is killed leaves nothing. From Linux 6.8
// on the mount has no place. Older kernels mount it on o.Target for a moment, which therefore is a directory for nothing else.
// Errors: those of MountOverlay.
func (e *Engine) OpenOverlay(ctx context.Context, o Overlay) (*os.File, error) {
	err := o.validate()
	if err == nil && o.writable() {
		err = errors.New("it is writable")
	}
	if err != nil {
		return nil, fmt.Errorf("mounting for a look: %w", err)
	}
	rel, err := e.beneathRoot(o.Target)
	if err != nil {
		return nil, err
	}
	var root *os.File
	err = e.do(ctx, func() (err error) {
		root, err = e.openOverlay(o, rel)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("mounting an overlay of %d layers for a look: %w", len(o.Layers), err)
	}
	return root, nil
}

// openOverlay runs on a mount thread.
func (e *Engine) openOverlay(o Overlay, rel string) (root *os.File, err error) {
	err = e.withLayers(o, func(o Overlay, options options) (err error) {
		if !e.appendLayers || !options.fitFsconfig() {
			root, err = e.openOverlayAt(o, options, rel)
			return err
		}
		mount, err := detachedOverlay(o, options)
		if err != nil {
			return err
		}
		defer closeFD(mount)
		root, err = openRootOf(mount)
		return err
	})
	return root, err
}

// openOverlayAt mounts at a place beneath the root, and takes the mount away from there when its root directory is open. It runs
// on a mount thread.
func (e *Engine) openOverlayAt(o Overlay, options options, rel string) (opened *os.File, err error) {
	e.placing.Lock()
	defer e.placing.Unlock()
	root, err := e.openRoot()
	if err != nil {
		return nil, err
	}
	defer closeFD(root)
	if err := detach(root, rel); err != nil { // what a killed process left
		return nil, err
	}
	target, _, err := makeDir(root, rel)
	if err != nil {
		return nil, err
	}
	err = attachClassic(o, options, root, rel, target)
	closeFD(target)
	if err == nil {
		opened, err = openMounted(root, rel)
	}
	if err = errors.Join(err, detach(root, rel)); err != nil && opened != nil {
		_ = opened.Close()
		opened = nil
	}
	return opened, err
}

// openMounted opens the directory at rel, with what is mounted there.
func openMounted(root int, rel string) (*os.File, error) {
	mounted, err := openDir(root, rel)
	if err != nil {
		return nil, err
	}
	defer closeFD(mounted)
	return openRootOf(mounted)
}

// openRootOf opens a directory that was opened to be named.
func openRootOf(dir int) (*os.File, error) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a directory for reading: %w", err)
	}
	return os.NewFile(uintptr(fd), DescriptorPath(fd)), nil
}

// detach takes what is mounted at rel away from there, and removes the directory. Files that are open keep the mount, and are
// the caller's own.
func detach(root int, rel string) error { return unmountWith(root, rel, unix.MNT_DETACH, removeDir) }
