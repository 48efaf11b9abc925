package hostmount

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Capacity is an amount of bytes or of inodes.
type Capacity struct {
	Total, Used, Available int64
}

// Stat is what the engine's namespace shows at a target.
type Stat struct {
	Mount *Mount // the topmost mount there; nil if nothing is mounted
	Gone  bool   // a directory that the mount shows was removed, so that the mount looks empty

	// Bytes and Inodes are those of the file system behind the mount (statfs(2)). Of a writable overlay that is the
	// file system of its upper directory, or that directory's project quota where it has one.
	Bytes, Inodes Capacity
}

// Stat looks at a target. Errors: ErrBadTarget, the context's if a file system does not answer in time, or the kernel's
// own: fs.ErrNotExist if there is no directory.
func (e *Engine) Stat(ctx context.Context, target string) (Stat, error) {
	rel, err := e.beneathRoot(target)
	if err != nil {
		return Stat{}, err
	}
	var stat Stat
	err = e.look(ctx, func() (err error) {
		stat, err = e.stat(rel)
		return err
	})
	if err != nil {
		return Stat{}, fmt.Errorf("looking at %s: %w", target, err)
	}
	return stat, nil
}

// stat runs on the thread for looks.
func (e *Engine) stat(rel string) (Stat, error) {
	target, err := e.openBeneath(rel)
	if err != nil {
		return Stat{}, err
	}
	defer closeFD(target)
	mount, err := mountAt(target)
	if err != nil || mount == nil {
		return Stat{}, err
	}
	gone, err := isGone(target)
	if err != nil {
		return Stat{}, err
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(target, &fs); err != nil {
		return Stat{}, fmt.Errorf("asking for its capacity: %w", err)
	}
	mount.Target = e.config.Root + "/" + rel
	return Stat{
		Mount:  mount,
		Gone:   gone,
		Bytes:  capacity(fs.Blocks, fs.Bfree, fs.Bavail, fs.Frsize),
		Inodes: capacity(fs.Files, fs.Ffree, fs.Ffree, 1),
	}, nil
}

// isGone reports whether a directory was removed while it was still in use. The kernel reads such a directory with
// ENOENT, and also an overlay if one of its layers was removed; programs take the error for the end of the names.
func isGone(dir int) (bool, error) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer closeFD(fd)
		_, err = unix.ReadDirent(fd, make([]byte, 4096))
	}
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ESTALE) {
		return false, fmt.Errorf("reading the directory: %w", err)
	}
	return err != nil, nil
}

func capacity(total, free, available uint64, unit int64) Capacity {
	bytes := func(n uint64) int64 { return int64(n) * unit }
	return Capacity{Total: bytes(total), Used: bytes(total - free), Available: bytes(available)}
}
