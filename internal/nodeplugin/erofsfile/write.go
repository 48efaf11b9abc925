package erofsfile

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/erofs/go-erofs"
)

// MaxBytes is how much disk one file takes at most. A file is a copy of its image, made again on every node.
const MaxBytes = 16 << 30

const (
	// maxEntries is how many files an image may have. The library keeps all of them in memory until the file is written.
	maxEntries = 200_000

	// maxInline bounds the contents of small files, which the library keeps in memory until the end: they lie among the metadata.
	maxInline = 128 << 20

	// maxLength bounds the sum of the sizes of files, holes included.
	maxLength = 1 << 40

	// maxDepth is how deep directories may lie; images in use have less than a hundred.
	maxDepth = 256
)

// ErrTooLarge means that an image has more than a file may hold.
var ErrTooLarge = errors.New("the image is too large for a file with its users")

// Written is what a file holds.
type Written struct {
	Directories int
	Files       int   // names of what is no directory
	Linked      int   // of these, further names of a file that has several
	Bytes       int64 // of disk, holes left out
}

// bounds are the limits of a file. Tests set them lower.
type bounds struct {
	entries       int
	bytes, inline int64
	length        int64
	depth         int
}

// WriteEmpty fills an empty file with an EROFS image of an empty directory, to try whether it can be mounted.
func WriteEmpty(to *os.File) error {
	if err := erofs.Create(to, erofs.WithBlockSize(os.Getpagesize())).Close(); err != nil {
		return fmt.Errorf("writing an empty EROFS image: %w", err)
	}
	return nil
}

// Write replaces what a file holds with an EROFS image of what a directory shows, until ctx ends. Owners, modes, times of modification,
// devices and the image's attributes stay; other times do not. The disk has all of it when Write returns. The directory must not
// change meanwhile. After an error the file holds a part. Errors: ErrTooLarge, or the kernel's own.
func Write(ctx context.Context, from, to *os.File) (Written, error) {
	return write(ctx, from, to, bounds{entries: maxEntries, bytes: MaxBytes, inline: maxInline, length: maxLength, depth: maxDepth})
}

func write(ctx context.Context, from, to *os.File, within bounds) (Written, error) {
	if err := to.Truncate(0); err != nil {
		return Written{}, err
	}
	out := &output{file: to, most: within.bytes}
	// A kernel may take blocks of its page size only. The build time stands for the times of files that have it, so it is one that no
	// file of an image has.
	image := erofs.Create(out, erofs.WithBlockSize(os.Getpagesize()), erofs.WithBuildTime(1, 0))
	tree := &tree{ctx: ctx, root: from, image: image, within: within, names: map[inode]*names{}}
	err := image.CopyFrom(tree)
	if err == nil {
		err = tree.countNames()
	}
	if err == nil {
		err = image.Close()
	}
	if err == nil {
		err = out.finish()
	}
	if err == nil {
		err = joinNames(to, tree.names)
	}
	if err == nil {
		err = to.Sync()
	}
	tree.written.Bytes = out.written
	if err != nil {
		return tree.written, fmt.Errorf("writing an EROFS image: %w", err)
	}
	return tree.written, nil
}
