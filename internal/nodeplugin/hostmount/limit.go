package hostmount

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"golang.org/x/sys/unix"
)

const (
	// Project IDs of ours: a range of 2^30 that no other program on a node is known to hand out. The kubelet counts
	// up from 1048577 (pkg/volume/util/fsquota/common) and containers/storage from small numbers.
	firstProject = 1 << 30
	projectMask  = firstProject - 1

	// projectTries is how many IDs are looked at for one that is free.
	projectTries = 64

	// A file or directory with content takes a block, so this many inodes never end before the bytes do. Without a
	// limit a pod could use up the node's inodes with empty files.
	bytesPerInode = 4096
	spareInodes   = 1024
)

// inodesFor is how many inodes go with a limit of bytes.
func inodesFor(bytes int64) int64 { return spareInodes + bytes/bytesPerInode }

// blocksFor is the smallest number of quotaBlocks that hold bytes, and no more than file systems count in bytes.
func blocksFor(bytes int64) uint64 {
	blocks := bytes / quotaBlock
	if bytes%quotaBlock != 0 && blocks < math.MaxInt64/quotaBlock {
		blocks++
	}
	return uint64(blocks)
}

// Limit is what the upper and the work directory of a writable overlay may hold together. Both are absolute paths beneath
// the root, new and empty unless they are limited already.
type Limit struct {
	// Work has the project ID that counts: no pod reaches this directory. Upper gets the same, whatever it has: the owner
	// of the volume's root directory may have given it another one, through the overlay.
	Work, Upper string

	Bytes int64
}

// Limit has the kernel limit what is in two directories, by a project quota (ext4, XFS). The directories carry the project
// ID themselves, so a work directory that has an ID keeps it. Errors: ErrNoQuota, ErrBadTarget, ErrLimitTooLarge, or the
// kernel's own.
func (e *Engine) Limit(ctx context.Context, l Limit) error {
	err := e.onDirs(ctx, []string{l.Work, l.Upper}, func(dirs []int) error { return e.limit(dirs[0], dirs[1], l.Bytes) })
	if err != nil {
		return fmt.Errorf("limiting %s: %w", l.Upper, err)
	}
	return nil
}

// Limited returns the limit to which a work directory belongs, and what is used of it; ok is false if it has none. It accesses
// nothing that a pod can reach, so no file system of a volume holds it up.
func (e *Engine) Limited(ctx context.Context, work string) (bytes, inodes Capacity, ok bool, err error) {
	var found limited
	err = e.onDirs(ctx, []string{work}, func(dirs []int) (err error) {
		found, err = e.limited(dirs[0])
		return err
	})
	if err != nil {
		return Capacity{}, Capacity{}, false, fmt.Errorf("asking for the limit of %s: %w", work, err)
	}
	return found.bytes, found.inodes, found.ok, nil
}

type limited struct {
	bytes, inodes Capacity
	ok            bool
}

// limited runs on a mount thread.
func (e *Engine) limited(work int) (limited, error) {
	quota, ok, err := e.quotaOf(work)
	if err != nil || !ok {
		return limited{}, err
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(work, &fs); err != nil {
		return limited{}, err
	}
	return limited{
		bytes:  within(quota.bytesUsed, times(quota.blockLimit, quotaBlock), capacity(fs.Blocks, fs.Bfree, fs.Bavail, fs.Frsize)),
		inodes: within(quota.inodesUsed, quota.inodeLimit, capacity(fs.Files, fs.Ffree, fs.Ffree, 1)),
		ok:     true,
	}, nil
}

// Unlimit removes the limit of what a work directory belongs to from the file system's records; the directory keeps its ID.
// One that has none, or is not there, is success.
func (e *Engine) Unlimit(ctx context.Context, work string) error {
	err := e.onDirs(ctx, []string{work}, func(dirs []int) error {
		attributes, err := e.kernel.attributes(dirs[0])
		if err != nil || !isOurs(attributes.project) {
			return err
		}
		return e.setQuota(dirs[0], attributes.project, quota{})
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, ErrNoQuota) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing the limit of %s: %w", work, err)
	}
	return nil
}

// limit runs on a mount thread.
func (e *Engine) limit(work, upper int, bytes int64) error {
	e.projects.Lock()
	defer e.projects.Unlock()
	first, err := e.kernel.attributes(work)
	if err != nil {
		return err
	}
	project := first.project
	if !isOurs(project) {
		if project, err = e.freeProject(work); err != nil {
			return err
		}
	}
	// The directories come first: their ID leads Unlimit to the record of a process that is killed before it is done.
	for _, dir := range []int{work, upper} {
		if err := e.setProject(dir, project); err != nil {
			return err
		}
	}
	err = e.setQuota(work, project, quota{blockLimit: blocksFor(bytes), inodeLimit: uint64(inodesFor(bytes))})
	if errors.Is(err, unix.ERANGE) {
		return fmt.Errorf("%w: %w", ErrLimitTooLarge, err)
	}
	if err != nil {
		return err
	}
	return checkLimit(work, bytes)
}

// freeProject draws an unpredictable project ID, so that no pod can give its files the ID of another pod's volume. An ID in
// use has inodes; a limit without any is a remnant, and freeProject draws another ID.
func (e *Engine) freeProject(dir int) (uint32, error) {
	for range projectTries {
		var drawn [4]byte
		_, _ = rand.Read(drawn[:]) // never fails
		project := firstProject | binary.BigEndian.Uint32(drawn[:])&projectMask
		found, err := e.getQuota(dir, project)
		if err != nil {
			return 0, err
		}
		if found.inodesUsed == 0 && found.blockLimit == 0 {
			return project, nil
		}
	}
	return 0, fmt.Errorf("no project ID is free after %d tries", projectTries)
}

// checkLimit reports whether the kernel enforces a limit and does not only count: then it shows a limited directory as
// a file system of that size (statfs of ext4 and of XFS).
func checkLimit(dir int, bytes int64) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir, &fs); err != nil {
		return err
	}
	if times(fs.Blocks, uint64(fs.Frsize)) > uint64(bytes)+quotaBlock {
		return fmt.Errorf("%w: it counts only", ErrNoQuota)
	}
	return nil
}

func isOurs(project uint32) bool {
	return project >= firstProject && project <= firstProject|projectMask
}

// times multiplies, and stays at the largest number where the product is larger.
func times(n, unit uint64) uint64 {
	if high, low := bits.Mul64(n, unit); high == 0 {
		return low
	}
	return math.MaxUint64
}

// within narrows a file system's capacity to a limit.
func within(used, limit uint64, fs Capacity) Capacity {
	u, total := int64(min(used, math.MaxInt64)), int64(min(limit, uint64(fs.Total)))
	return Capacity{Total: total, Used: u, Available: max(0, min(total-u, fs.Available))}
}

// onDirs runs f with directories of ours open, on a mount thread.
func (e *Engine) onDirs(ctx context.Context, dirs []string, f func(dirs []int) error) error {
	rels := make([]string, len(dirs))
	for i, dir := range dirs {
		var err error
		if rels[i], err = e.beneathRoot(dir); err != nil {
			return err
		}
	}
	return e.do(ctx, func() error {
		root, err := e.openRoot()
		if err != nil {
			return err
		}
		defer closeFD(root)
		fds := make([]int, len(rels))
		for i, rel := range rels {
			if fds[i], err = openToRead(root, rel); err != nil {
				return err
			}
			defer closeFD(fds[i])
		}
		return f(fds)
	})
}

// openToRead opens the directory at rel for more than a look.
func openToRead(root int, rel string) (int, error) {
	dir, err := openDir(root, rel)
	if err != nil {
		return -1, err
	}
	defer closeFD(dir)
	return unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}
