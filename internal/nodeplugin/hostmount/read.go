package hostmount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// ErrNoPlainFile means that something else is in a file's place, or a file that is too large.
var ErrNoPlainFile = errors.New("not a plain file of the size that is allowed")

// ReadFile returns what a file beneath the root holds, as the engine's namespace shows it. It follows no link and reads no
// more than limit bytes. Errors: ErrBadTarget, ErrNoPlainFile, or the kernel's own.
func (e *Engine) ReadFile(ctx context.Context, file string, limit int64) ([]byte, error) {
	rel, err := e.beneathRoot(file)
	if err != nil {
		return nil, err
	}
	var content []byte
	err = e.do(ctx, func() (err error) {
		content, err = e.readFile(rel, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return content, nil
}

// readFile runs on a mount thread.
func (e *Engine) readFile(rel string, limit int64) ([]byte, error) {
	dir, err := e.openBeneath(path.Dir(rel))
	if err != nil {
		return nil, err
	}
	defer closeFD(dir)
	fd, err := unix.Openat(dir, path.Base(rel), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, ErrNoPlainFile
	}
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), rel)
	defer file.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Size > limit {
		return nil, ErrNoPlainFile
	}
	return io.ReadAll(io.LimitReader(file, limit))
}
