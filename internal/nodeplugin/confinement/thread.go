package confinement

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Directories of proc(5).
const (
	procDir = "/proc"

	ownThread = "/proc/thread-self"
)

// filtersKey is the line with the number of a thread's filters, from Linux 5.9 on.
const filtersKey = "Seccomp_filters"

// Less is the error of a process with a thread that is less confined than it should be. An error of another type means that this
// could not be found out.
type Less struct {
	// Thread is the directory of the thread in /proc, and What what it lacks.
	Thread string
	What   error
}

func (l *Less) Error() string {
	return fmt.Sprintf("this process is less confined than it should be: thread %s: %v", l.Thread, l.What)
}

func (l *Less) Unwrap() error { return l.What }

// everyThread looks at the threads of the process by their directories, and leaves out those that end meanwhile. It returns the
// first error.
func everyThread(proc string, look func(dir string) error) error {
	dirs, err := filepath.Glob(filepath.Join(proc, "self/task/*"))
	looked := 0
	for _, dir := range dirs {
		err := look(dir)
		if err != nil && isGone(dir) {
			continue
		}
		if err != nil {
			return err
		}
		looked++
	}
	if err != nil || looked == 0 {
		return errors.Join(fmt.Errorf("looking at how the process is confined: it has no threads in %s", proc), err)
	}
	return nil
}

// isGone reports whether a thread has ended. A file that is missing alone says nothing: kernels differ in what they have.
func isGone(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "status"))
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// status is what a thread may do: lines of its status file by their keys.
type status map[string]string

// readStatus reads that of the thread with a directory.
func readStatus(dir string) (status, error) {
	content, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return nil, fmt.Errorf("looking at how the process is confined: %w", err)
	}
	out := status{}
	for line := range strings.Lines(string(content)) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", filtersKey:
			out[key] = strings.TrimSpace(value)
		}
	}
	return out, nil
}

// within returns an error that names a set of capabilities with more than some. It needs to be told each of them.
func (s status) within(allowed uint64, sets ...string) error {
	for _, name := range sets {
		bits, err := strconv.ParseUint(s[name], 16, 64)
		if err != nil {
			return fmt.Errorf("its %s is %q", name, s[name])
		}
		if more := bits &^ allowed; more != 0 {
			return fmt.Errorf("its %s is %016x, of which %016x should not be there", name, bits, more)
		}
	}
	return nil
}

// withoutNewPrivileges returns an error unless no program can give the thread privileges.
func (s status) withoutNewPrivileges() error {
	if s["NoNewPrivs"] != "1" {
		return fmt.Errorf("its NoNewPrivs is %q", s["NoNewPrivs"])
	}
	return nil
}

// filtered returns an error unless the thread's system calls are filtered.
func (s status) filtered() error {
	if s["Seccomp"] != "2" { // SECCOMP_MODE_FILTER
		return fmt.Errorf("its Seccomp is %q", s["Seccomp"])
	}
	return nil
}

// filters returns how many seccomp filters a thread has; 0 on kernels that do not count them.
func (s status) filters() int {
	n, _ := strconv.Atoi(s[filtersKey])
	return n
}
