package hostmount

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// List returns the names in a directory beneath the root as the engine's namespace shows it, which may be more than
// the process sees. Errors: ErrBadTarget, or the kernel's own.
func (e *Engine) List(ctx context.Context, dir string) ([]string, error) {
	rel, err := e.beneathRoot(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	err = e.do(ctx, func() (err error) {
		names, err = e.list(rel)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir, err)
	}
	return names, nil
}

// Changed returns when a directory beneath the root last got or lost a name. Errors: ErrBadTarget, or the kernel's own.
func (e *Engine) Changed(ctx context.Context, dir string) (time.Time, error) {
	rel, err := e.beneathRoot(dir)
	if err != nil {
		return time.Time{}, err
	}
	var found unix.Stat_t
	err = e.look(ctx, func() error { return e.statDir(rel, &found) })
	if err != nil {
		return time.Time{}, fmt.Errorf("looking at %s: %w", dir, err)
	}
	return time.Unix(found.Mtim.Unix()), nil
}

// statDir runs on the thread for looks.
func (e *Engine) statDir(rel string, found *unix.Stat_t) error {
	dir, err := e.openBeneath(rel)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	return unix.Fstat(dir, found)
}

// list runs on a mount thread.
func (e *Engine) list(rel string) ([]string, error) {
	found, err := e.openBeneath(rel)
	if err != nil {
		return nil, err
	}
	defer closeFD(found)
	path, err := pathOf(found)
	if err != nil {
		return nil, err
	}
	// Reading by path keeps to the thread's namespace; the descriptor was for looking only.
	opened, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	return opened.Readdirnames(-1)
}
