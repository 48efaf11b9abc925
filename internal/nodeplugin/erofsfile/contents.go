package erofsfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// contents is a file that is open only while it is read, because the library holds on to all of them.
type contents struct {
	tree *tree
	name string
	file *os.File

	at    int64
	until int64 // where the data, or the hole, that at lies in ends
	hole  bool
}

// Stat implements fs.File. The library does not call it.
func (c *contents) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }

// Read implements io.Reader. Holes are not read.
func (c *contents) Read(p []byte) (n int, err error) {
	if err := c.tree.ctx.Err(); err != nil {
		return 0, err
	}
	if c.file == nil {
		if c.file, err = c.tree.open(c.name); err != nil {
			return 0, err
		}
	}
	if c.at >= c.until {
		if err := c.look(); err != nil {
			return 0, fmt.Errorf("reading %q: %w", c.name, err)
		}
	}
	p = p[:min(int64(len(p)), c.until-c.at)]
	if c.hole {
		clear(p)
		n = len(p)
	} else {
		n, err = c.file.ReadAt(p, c.at)
	}
	c.at += int64(n)
	if n > 0 {
		return n, nil
	}
	return n, err
}

// look finds out whether data or a hole follows, and where that ends. The library reads as much as there was. It would take less for the
// whole, so an early end is an error.
func (c *contents) look() error {
	size, err := c.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if c.at >= size {
		return io.ErrUnexpectedEOF
	}
	begin, err := unix.Seek(int(c.file.Fd()), c.at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // only a hole is left
		c.until, c.hole = size, true
		return nil
	case err != nil:
		return err
	case begin > c.at:
		c.until, c.hole = begin, true
		return nil
	}
	c.hole = false
	c.until, err = unix.Seek(int(c.file.Fd()), c.at, unix.SEEK_HOLE)
	return err
}

// Close implements io.Closer.
func (c *contents) Close() error {
	if c.file == nil {
		return nil
	}
	file := c.file
	c.file = nil
	return file.Close()
}
