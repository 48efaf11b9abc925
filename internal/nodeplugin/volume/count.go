package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

const (
	// countFor bounds one count, because the next volume's count waits for it, and the kubelet for all of them.
	countFor = 20 * time.Second

	// countKept is how long a count serves calls that waited while it was made. No call waits longer.
	countKept = 2 * time.Minute
)

// holdings are the disk space and inodes that a directory and everything in it use.
type holdings struct {
	bytes  int64
	inodes float64
	partly bool // there is more: it is nested too deep, or the time was too short
}

// counter counts what volumes hold. It counts one volume at a time, because the node's disk is shared. Calls that waited while
// their volume was counted share the count.
type counter struct {
	turn *semaphore.Weighted
	last map[string]counted // by directory; guarded by turn
}

type counted struct {
	holdings
	at time.Time // when it was complete
}

func newCounter() counter {
	return counter{turn: semaphore.NewWeighted(1), last: map[string]counted{}}
}

// count returns what a directory holds. Once it is its turn it takes no longer than patience, and returns what it has found by
// then.
func (c *counter) count(ctx context.Context, dir string, patience time.Duration) (holdings, error) {
	asked := time.Now()
	if err := c.turn.Acquire(ctx, 1); err != nil {
		return holdings{}, fmt.Errorf("waiting until other volumes are counted: %w", err)
	}
	defer c.turn.Release(1)
	if found, ok := c.last[dir]; ok && found.at.After(asked) {
		return found.holdings, nil
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var found holdings
	err := found.addTree(limited, dir)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		found.partly, err = true, nil
	}
	if err != nil {
		return holdings{}, err
	}
	now := time.Now()
	maps.DeleteFunc(c.last, func(_ string, l counted) bool { return now.Sub(l.at) > countKept })
	c.last[dir] = counted{found, now}
	return found, nil
}

func (h *holdings) addTree(ctx context.Context, path string) error {
	dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &stat); err != nil {
		return err
	}
	h.add(stat)
	return h.addNames(ctx, dir, 0)
}

// addNames adds what is in a directory at a level of the tree. It reads the names in parts. Files that come or go meanwhile are
// no error.
func (h *holdings) addNames(ctx context.Context, dir *os.File, level int) error {
	for {
		names, err := dir.Readdirnames(namesAtOnce)
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := h.addName(ctx, dir, name, level); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (h *holdings) addName(ctx context.Context, dir *os.File, name string, level int) error {
	var stat unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	h.add(stat)
	switch {
	case stat.Mode&unix.S_IFMT != unix.S_IFDIR:
		return nil
	case level == openLevels:
		h.partly = true
		return nil
	}
	inner, err := openBeneath(dir, name)
	switch {
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV):
		return nil // it is no directory any more, or another mount
	case err != nil:
		return err
	}
	defer inner.Close()
	return h.addNames(ctx, inner, level+1)
}

// add adds a name. Each of a file's several names counts for a share of it, so that the names met before need no record.
func (h *holdings) add(stat unix.Stat_t) {
	names := max(int64(stat.Nlink), 1)
	if stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		names = 1 // its links are the directories in it
	}
	h.bytes += stat.Blocks * 512 / names // the unit of st_blocks, see stat(2)
	h.inodes += 1 / float64(names)
}

func (h *holdings) wholeInodes() int64 { return int64(math.Round(h.inodes)) }
