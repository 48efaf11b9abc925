package imitate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Thread runs attempt on a thread that is like another one: it has its mount, network, IPC and host name namespaces, its root
// directory, its capabilities, no_new_privs and its filters. What it cannot have: the other's process ID namespace and open files.
// The caller has to be root on the machine. The thread ends with attempt, which must start no goroutine and leave nothing behind.
func Thread(tid int, attempt func()) error {
	model, err := look(tid)
	defer model.close()
	if err != nil {
		return fmt.Errorf("looking at thread %d: %w", tid, err)
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: no other code may run on this thread
		if err := model.become(); err != nil {
			result <- fmt.Errorf("becoming like thread %d: %w", tid, err)
			return
		}
		attempt()
		result <- nil
	}()
	return <-result
}

// model is what makes a thread what it may be.
type model struct {
	namespaces []int
	root       int
	sets       [2]unix.CapUserData
	noNewPrivs bool
	filters    [][]unix.SockFilter // the oldest first
}

func (m *model) close() {
	for _, fd := range append(m.namespaces, m.root) {
		_ = unix.Close(fd)
	}
}

func look(tid int) (*model, error) {
	m := &model{root: -1}
	dir := filepath.Join("/proc", strconv.Itoa(tid))
	for _, name := range []string{"net", "ipc", "uts", "mnt"} {
		fd, err := unix.Open(filepath.Join(dir, "ns", name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return m, err
		}
		m.namespaces = append(m.namespaces, fd)
	}
	var err error
	if m.root, err = unix.Open(filepath.Join(dir, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return m, err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: int32(tid)}
	if err := unix.Capget(&header, &m.sets[0]); err != nil {
		return m, err
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return m, err
	}
	m.noNewPrivs = bytes.Contains(status, []byte("NoNewPrivs:\t1\n"))
	m.filters, err = filtersOf(tid)
	return m, err
}

// become gives the calling thread everything of the model. The filters come last: they forbid the rest.
func (m *model) become() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	for _, fd := range m.namespaces {
		if err := unix.Setns(fd, 0); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
	}
	if err := errors.Join(unix.Fchdir(m.root), unix.Chroot(".")); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if m.noNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	// Without no_new_privs, a filter takes SYS_ADMIN, which every node plugin keeps.
	if err := unix.Capset(&header, &m.sets[0]); err != nil {
		return err
	}
	for _, filter := range m.filters {
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, 1 /* SECCOMP_SET_MODE_FILTER */, 0, uintptr(unsafe.Pointer(&program)))
		if errno != 0 {
			return fmt.Errorf("seccomp: %w", errno)
		}
	}
	return nil
}
