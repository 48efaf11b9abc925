package nodes

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// WriteProgram writes a program that is about to run, in place of one that may be there. This process starts no other meanwhile: a new
// one has all files of its parent open until it runs its own program, and the kernel runs no file that is open for writing (ETXTBSY,
// execve(2)).
func WriteProgram(name string, content io.Reader) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("write program %s: %w", name, err)
	}
	return nil
}
