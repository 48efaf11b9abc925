package hostmount

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DropCapabilities drops CAP_SYS_PTRACE and CAP_SYS_CHROOT, which only entering a namespace needs, on every thread
// of the process, permanently: nothing that runs in it later can enter a namespace. It does nothing for an engine that
// mounts in the process's own namespace. Call it when every engine of the process is open. It fails in a program
// built with cgo, where the Go runtime cannot reach all threads.
func (e *Engine) DropCapabilities() error {
	if e.config.NamespaceDir == "" {
		return nil
	}
	header, sets, err := capabilities()
	if err != nil {
		return err
	}
	for _, c := range []int{unix.CAP_SYS_PTRACE, unix.CAP_SYS_CHROOT} {
		sets[c/32].Effective &^= 1 << (c % 32)
		sets[c/32].Permitted &^= 1 << (c % 32)
		sets[c/32].Inheritable &^= 1 << (c % 32)
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0) //nolint:gosec // capset(2) takes pointers
	switch {
	case errno == 0:
		return nil
	case errors.Is(errno, syscall.ENOTSUP):
		return fmt.Errorf("dropping capabilities: build this program with CGO_ENABLED=0: %w", errno)
	default:
		return fmt.Errorf("dropping CAP_SYS_PTRACE and CAP_SYS_CHROOT: %w", errno)
	}
}

// capabilities reads the calling thread's capability sets, in the form that capset(2) takes.
func capabilities() (unix.CapUserHeader, [2]unix.CapUserData, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return header, sets, fmt.Errorf("reading the process's capabilities: %w", err)
	}
	return header, sets, nil
}

// hasCapability reports whether the calling thread may use capability c. In doubt it may.
func hasCapability(c int) bool {
	_, sets, err := capabilities()
	return err != nil || sets[c/32].Effective&(1<<(c%32)) != 0
}

// capabilityName returns a capability's name as a pod's securityContext spells it.
func capabilityName(c int) string {
	switch c {
	case unix.CAP_SYS_ADMIN:
		return "SYS_ADMIN"
	case unix.CAP_SYS_CHROOT:
		return "SYS_CHROOT"
	case unix.CAP_SYS_PTRACE:
		return "SYS_PTRACE"
	case unix.CAP_DAC_OVERRIDE:
		return "DAC_OVERRIDE"
	default:
		return fmt.Sprintf("number %d", c)
	}
}
