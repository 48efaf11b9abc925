package hostmount

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

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

// Limit is what a set of directories may hold together.
type Limit struct {
	Dirs  []string // absolute paths beneath the root, new and empty unless they are limited already
	Bytes int64
	Key   string // the project ID is derived from it
}

// Limit has the kernel limit what is in directories, by a project quota (ext4, XFS). The directories carry the project
// ID themselves, so one that has an ID keeps it. Errors: ErrNoQuota, ErrBadTarget, or the kernel's own.
func (e *Engine) Limit(ctx context.Context, l Limit) error {
	err := e.onDirs(ctx, e.do, l.Dirs, func(dirs []int) error { return e.limit(dirs, l) })
	if err != nil {
		return fmt.Errorf("limiting %s: %w", l.Dirs[0], err)
	}
	return nil
}

// Limited tells the limit of a directory and what is used of it; ok is false if it has none. Errors: the context's if the
// file system does not answer in time, or the kernel's own.
func (e *Engine) Limited(ctx context.Context, dir string) (bytes, inodes Capacity, ok bool, err error) {
	var found limited
	err = e.onDirs(ctx, e.look, []string{dir}, func(dirs []int) (err error) {
		found, err = e.limited(dirs[0])
		return err
	})
	if err != nil {
		return Capacity{}, Capacity{}, false, fmt.Errorf("asking for the limit of %s: %w", dir, err)
	}
	return found.bytes, found.inodes, found.ok, nil
}

type limited struct {
	bytes, inodes Capacity
	ok            bool
}

// limited runs on the thread for looks.
func (e *Engine) limited(dir int) (limited, error) {
	quota, ok, err := e.quotaOf(dir)
	if err != nil || !ok {
		return limited{}, err
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir, &fs); err != nil {
		return limited{}, err
	}
	return limited{
		bytes:  within(quota.bytesUsed, quota.blockLimit*quotaBlock, capacity(fs.Blocks, fs.Bfree, fs.Bavail, fs.Frsize)),
		inodes: within(quota.inodesUsed, quota.inodeLimit, capacity(fs.Files, fs.Ffree, fs.Ffree, 1)),
		ok:     true,
	}, nil
}

// Unlimit removes a directory's limit from the file system's records; the directory keeps its ID. A directory that
// has none, or is not there, is success.
func (e *Engine) Unlimit(ctx context.Context, dir string) error {
	err := e.onDirs(ctx, e.do, []string{dir}, func(dirs []int) error {
		attributes, err := fileAttributesOf(dirs[0])
		if err != nil || !isOurs(attributes.project) {
			return err
		}
		return e.setQuota(dirs[0], attributes.project, quota{})
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, ErrNoQuota) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing the limit of %s: %w", dir, err)
	}
	return nil
}

// limit runs on a mount thread.
func (e *Engine) limit(dirs []int, l Limit) error {
	e.projects.Lock()
	defer e.projects.Unlock()
	first, err := fileAttributesOf(dirs[0])
	if err != nil {
		return err
	}
	project := first.project
	if !isOurs(project) {
		if project, err = e.freeProject(dirs[0], l.Key); err != nil {
			return err
		}
	}
	// The directories come first: their ID leads Unlimit to the record of a process that is killed before it is done.
	for _, dir := range dirs {
		if err := setProject(dir, project); err != nil {
			return err
		}
	}
	err = e.setQuota(dirs[0], project, quota{
		blockLimit: uint64(l.Bytes+quotaBlock-1) / quotaBlock, inodeLimit: uint64(inodesFor(l.Bytes)),
	})
	if err != nil {
		return err
	}
	return checkLimit(dirs[0], l.Bytes)
}

// freeProject derives a project ID from a key. An ID that is in use has inodes; a limit without any is a leftover.
func (e *Engine) freeProject(dir int, key string) (uint32, error) {
	for try := range projectTries {
		sum := sha256.Sum256([]byte(key + "/" + strconv.Itoa(try)))
		project := firstProject | binary.BigEndian.Uint32(sum[:])&projectMask
		found, err := e.getQuota(dir, project)
		if err != nil {
			return 0, err
		}
		if found.inodesUsed == 0 {
			return project, nil
		}
	}
	return 0, fmt.Errorf("no project ID is free after %d tries", projectTries)
}

// checkLimit tells whether the kernel enforces a limit and does not only count: then it shows a limited directory as
// a file system of that size (statfs of ext4 and of XFS).
func checkLimit(dir int, bytes int64) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir, &fs); err != nil {
		return err
	}
	if int64(fs.Blocks)*fs.Frsize > bytes+quotaBlock {
		return fmt.Errorf("%w: it counts only", ErrNoQuota)
	}
	return nil
}

func isOurs(project uint32) bool {
	return project >= firstProject && project <= firstProject|projectMask
}

// within narrows a file system's capacity to a limit.
func within(used, limit uint64, fs Capacity) Capacity {
	u, total := int64(used), min(int64(limit), fs.Total)
	return Capacity{Total: total, Used: u, Available: max(0, min(total-u, fs.Available))}
}

// onDirs runs f with the directories open, on a thread that run chooses.
func (e *Engine) onDirs(ctx context.Context, run func(context.Context, func() error) error, dirs []string, f func(dirs []int) error) error {
	rels := make([]string, len(dirs))
	for i, dir := range dirs {
		var err error
		if rels[i], err = e.beneathRoot(dir); err != nil {
			return err
		}
	}
	return run(ctx, func() error {
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
