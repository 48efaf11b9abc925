package linktree

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// linker gives files of the layers one name more.
type linker struct{}

func (linker) attempt() string { return "linking" }

func (linker) add(_ context.Context, f file, built *Built) error {
	err := unix.Linkat(int(f.from.Fd()), f.name, int(f.into.Fd()), f.name, 0)
	if err == nil {
		built.Links++
	}
	return err
}

func (linker) refusal(err error) string {
	switch {
	case errors.Is(err, unix.EXDEV):
		return "its layers lie in another mount, or in another project, than the image store's directory"
	case errors.Is(err, unix.EROFS):
		return "its layers lie in a store that is read-only"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "the node lets the node plugin make no links in the image store"
	case errors.Is(err, unix.EMLINK):
		return "a file has as many links as its file system allows"
	default:
		return ""
	}
}
