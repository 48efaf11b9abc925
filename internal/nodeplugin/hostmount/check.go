package hostmount

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Check is the start-up self test. It mounts a small tmpfs on a fresh directory in dir, which lies beneath the root
// and is visible at the same path to the process, looks for it through the process's own view, and takes it away.
// The error says what to change.
func (e *Engine) Check(ctx context.Context, dir string) error {
	probe := filepath.Join(dir, "check-"+rand.Text())
	rel, err := e.beneathRoot(probe)
	if err != nil {
		return err
	}
	if err := e.do(ctx, func() error { return e.mountProbe(rel) }); err != nil {
		return fmt.Errorf("mounting a test file system in %s: %w", dir, err)
	}
	return errors.Join(lookFor(dir, probe), e.Unmount(ctx, probe))
}

// mountProbe mounts a tmpfs at rel, on a mount thread.
func (e *Engine) mountProbe(rel string) error {
	root, err := e.openRoot()
	if err != nil {
		return err
	}
	defer closeFD(root)
	target, _, err := makeDir(root, rel)
	if err != nil {
		return err
	}
	defer closeFD(target)
	place := filepath.Join(descriptors, strconv.Itoa(target))
	err = unix.Mount("imagecsi-check", place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=4k,mode=0700")
	if err != nil {
		return errors.Join(explain("mount", err, unix.CAP_SYS_ADMIN), removeDirBeneath(root, rel))
	}
	return nil
}

// lookFor tells from the process's own view whether something is mounted at probe.
func lookFor(dir, probe string) error {
	outside, err := device(dir)
	if err != nil {
		return err
	}
	inside, err := device(probe)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s is not the node's directory in this container: mount it as a hostPath at the same path", dir)
	case err != nil:
		return err
	case inside == outside:
		return fmt.Errorf("a mount that the node has in %s does not arrive in this container: give its volumeMount "+
			"mountPropagation HostToContainer, and see that the node's mount is shared (findmnt -o PROPAGATION)", dir)
	}
	return nil
}

// device returns the number of the file system that holds path.
func device(path string) (uint64, error) {
	info, err := os.Stat(path) //nolint:gosec // the directory is the driver's own
	if err != nil {
		return 0, fmt.Errorf("looking at the test directory in this container: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("looking at %s: no device number", path)
	}
	return stat.Dev, nil
}
