package hostmount

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// MountAt returns the topmost mount at a target, nil if nothing is mounted there or there is no directory. Where nothing
// is, it costs no look at the mount table from Linux 5.8 on (STATX_ATTR_MOUNT_ROOT of statx(2)). Errors: ErrBadTarget, or
// the kernel's own.
func (e *Engine) MountAt(ctx context.Context, target string) (*Mount, error) {
	rel, err := e.beneathRoot(target)
	if err != nil {
		return nil, err
	}
	var found *Mount
	err = e.do(ctx, func() (err error) {
		found, err = e.mountAt(rel)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for a mount at %s: %w", target, err)
	}
	return found, nil
}

// mountAt runs on a mount thread.
func (e *Engine) mountAt(rel string) (*Mount, error) {
	root, err := e.openRoot()
	if err != nil {
		return nil, err
	}
	defer closeFD(root)
	target, err := openDir(root, rel)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil //nolint:nilnil // nothing is there
	}
	if err != nil {
		return nil, err
	}
	defer closeFD(target)
	found, err := mountAt(target)
	if found != nil {
		found.Target = e.config.Root + "/" + rel
	}
	return found, err
}
