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

	// maxHolder bounds what is read about the holder.
	maxHolder = 256
)

// Lock is held by this process.
type Lock struct{ file *os.File }

// Acquire waits until no other process holds the lock on the file at path, and makes the file if there is none. The kernel
// releases the lock when the process ends, however it ends (flock(2)), so no call is needed for that. The holder writes its name,
// self, to the file. While Acquire waits, it calls waiting with the holder's name at each try. Errors: that of ctx, and the
// kernel's.
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
		// The file was removed after it was opened. Another process may have made a new one, and locked that.
		return nil, "a process that replaced the file", errors.Join(err, file.Close())
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

// sign writes the holder's name. On a full disk it is missing.
func (l *Lock) sign(self string) {
	if l.file.Truncate(0) == nil {
		_, _ = l.file.WriteAt([]byte(self+"\n"), 0)
	}
}
