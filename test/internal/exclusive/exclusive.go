// Package exclusive keeps two runs of one suite on one machine apart: the names of their clusters are the same.
package exclusive

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Lock waits until no other run holds the suite's name. The lock ends with the process at the latest.
func Lock(suite string) (unlock func(), err error) {
	path := filepath.Join(os.TempDir(), "image-csi-"+suite+".lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of suite %s: %w", suite, err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return func() { file.Close() }, nil
}
