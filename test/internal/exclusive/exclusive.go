// Package exclusive keeps two runs of one suite on one machine apart: the names of their clusters are the same.
package exclusive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/hack/cluster"
)

// Cluster waits until no other run has the cluster of this name, and takes down what a run that was killed has left of it: its nodes
// have images, and its API server objects, that this run has not made. The name is this run's until unlock is called, or the process
// ends.
func Cluster(ctx context.Context, name string) (unlock func(), err error) {
	locked, err := lock(name)
	if err != nil {
		return nil, err
	}
	if left, err := cluster.Open(name); err == nil {
		if err := left.Down(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("take down the cluster %s that an earlier run has left: %w", name, err), locked.Close())
		}
	}
	return func() { locked.Close() }, nil
}

func lock(name string) (*os.File, error) {
	path, err := lockFile(name)
	if err != nil {
		return nil, fmt.Errorf("find the lock of cluster %s: %w", name, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of cluster %s: %w", name, err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return file, nil
}

// lockFile lies beside the clusters' own files: whoever sees the same clusters sees it, too, wherever its temporary files lie.
func lockFile(name string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w; set HOME or XDG_CACHE_HOME", err)
	}
	dir := filepath.Join(cache, "image-csi-operator", "locks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return filepath.Join(dir, name), nil
}
