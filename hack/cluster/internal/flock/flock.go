// Package flock locks files against other processes.
package flock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Lock waits until nobody else holds the file's lock, and takes it. The lock ends when the file is closed, with the process at the
// latest (flock(2)).
func Lock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
