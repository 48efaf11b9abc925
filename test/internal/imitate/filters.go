package imitate

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// filtersOf returns a thread's seccomp filters, the oldest first (ptrace(2), PTRACE_SECCOMP_GET_FILTER). The thread stands still
// meanwhile.
func filtersOf(tid int) (filters [][]unix.SockFilter, err error) {
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	if _, err := ptrace(unix.PTRACE_SEIZE, tid, 0, nil); err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	defer func() {
		_, detached := ptrace(unix.PTRACE_DETACH, tid, 0, nil)
		err = errors.Join(err, detached)
	}()
	if _, err := ptrace(unix.PTRACE_INTERRUPT, tid, 0, nil); err != nil {
		return nil, fmt.Errorf("stopping: %w", err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(tid, &status, unix.WALL, nil); err != nil {
		return nil, fmt.Errorf("waiting for the stop: %w", err)
	}
	for index := uintptr(0); ; index++ {
		length, err := ptrace(unix.PTRACE_SECCOMP_GET_FILTER, tid, index, nil)
		if errors.Is(err, unix.ENOENT) || (errors.Is(err, unix.EINVAL) && index == 0) { // no more; none at all
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading a filter: %w", err)
		}
		filter := make([]unix.SockFilter, length)
		if _, err := ptrace(unix.PTRACE_SECCOMP_GET_FILTER, tid, index, unsafe.Pointer(&filter[0])); err != nil {
			return nil, fmt.Errorf("reading a filter: %w", err)
		}
		filters = append(filters, filter)
	}
	return filters, nil
}

func ptrace(request, tid int, address uintptr, data unsafe.Pointer) (uintptr, error) {
	n, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), address, uintptr(data), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}
