package hostmount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// writtenMode lets every user of the node read a file that was written there.
const writtenMode = 0o644

// WriteFile puts a file beneath the root, as the engine's namespace shows it. Who opens it finds what was there before or all of the
// content, also after a power cut. Directories on the way there are made, and no link is followed. Draft is a name in the file's directory that is the caller's
// alone: the content is there until it is complete, and what a killed process left of it is overwritten. Errors: ErrBadTarget, or
// the kernel's own.
func (e *Engine) WriteFile(ctx context.Context, file, draft string, content []byte) error {
	rel, err := e.beneathRoot(file)
	if err != nil {
		return err
	}
	if err := e.do(ctx, func() error { return e.writeFile(rel, draft, content) }); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

// writeFile runs on a mount thread.
func (e *Engine) writeFile(rel, draft string, content []byte) error {
	root, err := e.openRoot()
	if err != nil {
		return err
	}
	defer closeFD(root)
	named, _, err := makeDir(root, path.Dir(rel))
	if err != nil {
		return err
	}
	defer closeFD(named)
	dir, err := openRootOf(named)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := writeDraft(int(dir.Fd()), draft, content); err != nil {
		return errors.Join(err, unlink(int(dir.Fd()), draft))
	}
	if err := unix.Renameat(int(dir.Fd()), draft, int(dir.Fd()), path.Base(rel)); err != nil {
		return errors.Join(fmt.Errorf("renaming %s: %w", draft, err), unlink(int(dir.Fd()), draft))
	}
	return dir.Sync()
}

// writeDraft writes a file to the disk.
func writeDraft(dir int, name string, content []byte) (err error) {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, writtenMode)
	if err != nil {
		return fmt.Errorf("opening %s: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := unix.Fchmod(fd, writtenMode); err != nil {
		return fmt.Errorf("setting the mode of %s: %w", name, err)
	}
	if _, err := file.Write(content); err != nil {
		return err
	}
	return file.Sync()
}

// unlink removes a file, if it is there.
func unlink(dir int, name string) error {
	if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing %s: %w", name, err)
	}
	return nil
}
