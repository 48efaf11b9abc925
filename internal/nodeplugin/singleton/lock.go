package singleton

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// askEvery is the time between two tries for the lock.
	askEvery = 250 * time.Millisecond

	// maxHolder bounds what is read of who holds it.
	maxHolder = 256
)

// Lock is held by this process.
type Lock struct{ file *os.File }

// Acquire waits until no other process holds the lock on the file at path, which it makes if there is none. The kernel takes
// the lock back when the process has ended, however it ended (flock(2)), so nobody needs to release it. The file says who
// self is, for a process that waits: waiting is called with the holder's words at each try. Errors: that of ctx, and the
// kernel's own.
func Acquire(ctx context.Context, path, self string, waiting func(holder string)) (*Lock, error) {
	for {
		lock, holder, err := try(path)
		if err != nil {
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		if lock != nil {
			lock.sign(self)
			return lock, nil
		}
		waiting(holder)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s, which holds %s: %w", holder, path, ctx.Err())
		case <-time.After(askEvery):
		}
	}
}

// Release gives the lock up before the process ends.
func (l *Lock) Release() error { return l.file.Close() }

// try returns the lock, or nil and who holds it.
func try(path string) (lock *Lock, holder string, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600) //nolint:gosec // the path is made of the flags
	if err != nil {
		return nil, "", err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, unix.EINTR):
		holder = read(file)
		return nil, holder, file.Close()
	case err != nil:
		return nil, "", errors.Join(err, file.Close())
	}
	if same, err := isAt(file, path); !same || err != nil {
		// Somebody removed the file after it was opened: another process may have made a new one, and locked that.
		return nil, "a process that made the file anew", errors.Join(err, file.Close())
	}
	return &Lock{file}, "", nil
}

func read(file *os.File) string {
	text, err := io.ReadAll(io.LimitReader(file, maxHolder))
	if holder := strings.TrimSpace(strings.ToValidUTF8(string(text), "")); err == nil && holder != "" {
		return holder
	}
	return "another process"
}

func isAt(file *os.File, path string) (bool, error) {
	opened, err := file.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(path) //nolint:gosec // the path is made of the flags
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(opened, there), err
}

// sign writes who holds the lock. On a full disk it stays unsaid.
func (l *Lock) sign(self string) {
	if l.file.Truncate(0) == nil {
		_, _ = l.file.WriteAt([]byte(self+"\n"), 0)
	}
}
