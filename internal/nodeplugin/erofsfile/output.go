package erofsfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	// atOnce is how much is written at a time.
	atOnce = 256 << 10

	// grain is the smallest hole that is left in a file.
	grain = 4096
)

// output writes a file in large pieces, leaves holes where there are only zeros, and stops when the file takes too much disk.
type output struct {
	file    *os.File
	most    int64 // bytes that may be written
	written int64
	at      int64 // where the buffer belongs
	end     int64 // of the file
	buffer  []byte
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	if o.buffer == nil {
		o.buffer = make([]byte, 0, atOnce)
	}
	taken := 0
	for taken < len(p) {
		n := min(len(p)-taken, cap(o.buffer)-len(o.buffer))
		o.buffer = append(o.buffer, p[taken:taken+n]...)
		taken += n
		if len(o.buffer) == cap(o.buffer) {
			if err := o.flush(); err != nil {
				return taken, err
			}
		}
	}
	return taken, nil
}

// Seek implements io.Seeker, as far as the library needs it.
func (o *output) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart {
		return 0, errors.New("only seeks from the start of the file are possible")
	}
	if err := o.flush(); err != nil {
		return 0, err
	}
	o.at = offset
	return offset, nil
}

// flush writes what is in the buffer, but for zeros that the file has as holes.
func (o *output) flush() error {
	for rest := o.buffer; len(rest) > 0; {
		n := span(rest)
		if !isZero(rest[:min(grain, n)]) {
			if o.written += int64(n); o.written > o.most {
				return fmt.Errorf("%w: it takes more than %d MiB", ErrTooLarge, o.most>>20)
			}
			if _, err := o.file.WriteAt(rest[:n], o.at); err != nil {
				return err
			}
		}
		o.at += int64(n)
		rest = rest[n:]
	}
	o.end = max(o.end, o.at)
	o.buffer = o.buffer[:0]
	return nil
}

// span returns how many bytes of a buffer are alike: grains of zeros only, or others.
func span(p []byte) int {
	n := min(grain, len(p))
	zero := isZero(p[:n])
	for n < len(p) {
		next := min(n+grain, len(p))
		if isZero(p[n:next]) != zero {
			break
		}
		n = next
	}
	return n
}

// isZero reports whether there are only zeros: each byte is as the one before it, and the first one is zero.
func isZero(p []byte) bool {
	return len(p) == 0 || (p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1]))
}

// finish gives the file its length, of which the end may be a hole.
func (o *output) finish() error {
	if err := o.flush(); err != nil {
		return err
	}
	return o.file.Truncate(o.end)
}
