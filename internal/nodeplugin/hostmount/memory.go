package hostmount

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Memory is a size-limited file system in the node's memory (tmpfs) for an overlay's upper and work directories. It
// lives as long as the overlay and no longer, and what it holds counts as the memory of the pods that wrote it
// (Documentation/admin-guide/cgroup-v1/memory.rst, "Shared Page Accounting").
type Memory struct {
	// At is an existing empty directory beneath the root, where the file system has a place while the overlay is
	// made: the kernel takes no upper directory without one. Nothing stays mounted there.
	At string

	// Bytes is how much it holds.
	Bytes int64

	// Root is the owner and mode of the upper directory, which the overlay's own root shows.
	Root Attributes
}

// inMemory calls f with an overlay whose upper and work directories are those of m. It runs on a mount thread.
func (e *Engine) inMemory(root int, o Overlay, f func(Overlay) error) (err error) {
	m := *o.Memory
	rel, err := e.beneathRoot(m.At)
	if err != nil {
		return err
	}
	// What a process left that was killed between the two ends of this function.
	if err := unmountAll(root, rel, keepDir); err != nil {
		return fmt.Errorf("clearing %s: %w", m.At, err)
	}
	if err := mountMemory(root, rel, m); err != nil {
		return fmt.Errorf("mounting a file system of %d bytes in memory at %s: %w", m.Bytes, m.At, err)
	}
	defer func() {
		if gone := unmountAll(root, rel, keepDir); gone != nil {
			err = errors.Join(err, fmt.Errorf("clearing %s: %w", m.At, gone))
		}
	}()
	if err := makeUpper(root, rel, m.Root); err != nil {
		return fmt.Errorf("preparing the file system in memory at %s: %w", m.At, err)
	}
	o.Upper, o.Work = filepath.Join(m.At, upperName), filepath.Join(m.At, workName)
	return f(o)
}

const (
	upperName = "upper"
	workName  = "work"
)

func mountMemory(root int, rel string, m Memory) error {
	at, err := openDir(root, rel)
	if err != nil {
		return err
	}
	defer closeFD(at)
	// Without a label of its own: pods see the overlay's, and containers may write to tmpfs with its default label.
	data := fmt.Sprintf("size=%d,nr_inodes=%d,mode=0700", m.Bytes, inodesFor(m.Bytes))
	err = unix.Mount("imagecsi-memory", DescriptorPath(at), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, data)
	if err != nil {
		return explain("mount", err, unix.CAP_SYS_ADMIN)
	}
	return nil
}

// makeUpper makes the two directories in the file system that was mounted at rel.
func makeUpper(root int, rel string, owner Attributes) error {
	dir, err := openDir(root, rel)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	for _, name := range []string{upperName, workName} {
		if err := unix.Mkdirat(dir, name, 0o700); err != nil {
			return err
		}
	}
	// The owner first: a change of owner takes bits of the mode away.
	if err := unix.Fchownat(dir, upperName, int(owner.UID), int(owner.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return explain("giving the upper directory its owner", err, unix.CAP_CHOWN)
	}
	if err := unix.Fchmodat(dir, upperName, owner.Mode, 0); err != nil {
		return explain("giving the upper directory its mode", err, unix.CAP_FOWNER, unix.CAP_FSETID)
	}
	return nil
}
