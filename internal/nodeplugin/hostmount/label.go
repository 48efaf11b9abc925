package hostmount

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	// seLinuxLabel is the attribute with a file's SELinux label.
	seLinuxLabel = "security.selinux"

	// creationLabel is where a thread chooses the label of files that it makes (proc_pid_attr(5)).
	creationLabel = "/proc/thread-self/attr/fscreate"
)

// label is the SELinux label of volumes, empty where SELinux is not enabled.
func (e *Engine) label() string {
	if e.seLinux {
		return e.config.Context
	}
	return ""
}

// Label gives an open file or directory the label for volumes where SELinux is enabled: a file that a mount is to show, because a kernel may
// ask whether who reads the mount may read the file. Errors: ErrNotMappable if the policy forbids it.
func (e *Engine) Label(file *os.File) error {
	if !e.seLinux {
		return nil
	}
	err := unix.Fsetxattr(int(file.Fd()), seLinuxLabel, []byte(e.config.Context), 0)
	if isDenied(err) {
		return fmt.Errorf("%w: its SELinux policy lets the node plugin give no file the label %s, without which no pod could read it", ErrNotMappable, e.config.Context)
	}
	if err != nil {
		return fmt.Errorf("giving %s the SELinux label %s: %w", file.Name(), e.config.Context, err)
	}
	return nil
}

// FillLabelled gives an empty directory the label for volumes where SELinux is enabled, and runs fill, on a thread of its own: all that fill
// makes has that label from the start, symbolic links too, which no open file can give one. Errors: ErrNotMappable if the policy
// forbids it, or those of fill.
func (e *Engine) FillLabelled(dir *os.File, fill func() error) error {
	if err := e.Label(dir); err != nil {
		return err
	}
	if !e.seLinux {
		return fill()
	}
	runtime.LockOSThread()
	err := os.WriteFile(creationLabel, []byte(e.config.Context), 0)
	if err != nil {
		runtime.UnlockOSThread()
	}
	if isDenied(err) {
		return fmt.Errorf("%w: its SELinux policy lets the node plugin make no files with the label %s, without which no pod could read them", ErrNotMappable, e.config.Context)
	}
	if err != nil {
		return fmt.Errorf("having files made with the SELinux label %s: %w", e.config.Context, err)
	}
	defer func() {
		if os.WriteFile(creationLabel, nil, 0) == nil {
			runtime.UnlockOSThread()
		} // else nothing more runs on this thread, which ends with its goroutine
	}()
	return fill()
}

func isDenied(err error) bool { return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) }
