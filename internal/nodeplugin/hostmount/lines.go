package hostmount

import (
	"bufio"
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// maxLine is where lines of the mount table are cut. The parser's scanner gives up the whole table at a line of
// 64 KiB, and an overlay's line names every layer. All that precedes the layers is shorter than this: the longest
// are three paths of a page, each byte written in at most four.
const maxLine = 60 * 1024

// lineLimiter reads lines and drops what follows their first maxLine bytes.
type lineLimiter struct {
	lines *bufio.Reader // its buffer holds maxLine bytes
	rest  []byte        // of the current line
	end   error
}

func (l *lineLimiter) Read(p []byte) (int, error) {
	for len(l.rest) == 0 {
		if l.end != nil {
			return 0, l.end
		}
		l.next()
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// next takes the next line, up to the limit, and skips what is left of it.
func (l *lineLimiter) next() {
	line, err := l.lines.ReadSlice('\n')
	l.rest = append([]byte(nil), line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = l.lines.ReadSlice('\n')
		if err == nil {
			l.rest = append(l.rest, '\n')
		}
	}
	l.end = err
}

// fdReader reads a descriptor with plain system calls: the file belongs to the thread's namespace, and the Go
// runtime's poller has no business with it.
type fdReader int

func (fd fdReader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}
