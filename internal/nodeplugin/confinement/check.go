package confinement

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Files of proc(5).
const (
	allThreads = "/proc/self/task/*/status"
	ownThread  = "/proc/thread-self/status"
)

// filtersKey is the line with the number of a thread's filters, from Linux 5.9 on.
const filtersKey = "Seccomp_filters"

// Ready implements health.Check: it returns an error that names what is not in force on some thread.
func (c *Confinement) Ready(context.Context) error { return c.check() }

func (c *Confinement) check() error {
	files, err := filepath.Glob(allThreads)
	if err != nil || len(files) == 0 {
		return errors.Join(errors.New("looking at how the process is confined: it has no threads in /proc"), err)
	}
	for _, file := range files {
		thread, err := readStatus(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err == nil {
			err = c.holds(thread)
		}
		if err != nil {
			return fmt.Errorf("this process is less confined than it should be, which ends with a restart of its pod if nothing "+
				"else does: %s: %w", file, err)
		}
	}
	return nil
}

// holds returns an error that names what a thread may do and should not.
func (c *Confinement) holds(thread status) error {
	for _, name := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		bits, err := strconv.ParseUint(thread[name], 16, 64)
		if err != nil {
			return fmt.Errorf("its %s is %q", name, thread[name])
		}
		if more := bits &^ c.kept; more != 0 {
			return fmt.Errorf("its %s is %016x, of which %016x should be gone", name, bits, more)
		}
	}
	if thread["NoNewPrivs"] != "1" {
		return fmt.Errorf("its NoNewPrivs is %q", thread["NoNewPrivs"])
	}
	if thread["Seccomp"] != "2" { // SECCOMP_MODE_FILTER
		return fmt.Errorf("its Seccomp is %q", thread["Seccomp"])
	}
	if thread.filters() < c.filters {
		return fmt.Errorf("its %s is %d and should be %d", filtersKey, thread.filters(), c.filters)
	}
	return nil
}

// status is what a thread may do: lines of its status file by their keys.
type status map[string]string

func readStatus(file string) (status, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("looking at how the process is confined: %w", err)
	}
	out := status{}
	for line := range strings.Lines(string(content)) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp", filtersKey:
			out[key] = strings.TrimSpace(value)
		}
	}
	return out, nil
}

// filters returns how many seccomp filters a thread has; 0 on kernels that do not count them.
func (s status) filters() int {
	n, _ := strconv.Atoi(s[filtersKey])
	return n
}
