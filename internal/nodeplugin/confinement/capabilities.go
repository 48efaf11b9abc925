package confinement

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropCapabilities leaves every thread no capability but those that it has and is to keep.
func (c *Confinement) dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("reading the process's capabilities: %w", err)
	}
	if sets[0].Effective&(1<<unix.CAP_SETPCAP) != 0 {
		if err := c.dropBounding(); err != nil {
			return err
		}
	}
	for i := range sets {
		kept := uint32(c.kept >> (32 * i))
		sets[i].Permitted &= kept
		sets[i].Effective &= kept
		sets[i].Inheritable = 0
	}
	return onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0]))) //nolint:gosec // capset(2) takes pointers
}

// dropBounding takes from every thread's bounding set what is not to be kept.
func (c *Confinement) dropBounding() error {
	for capability := range 64 {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(capability), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) { // the kernel has no more
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the bounding set: %w", err)
		}
		if has == 0 || c.kept&(1<<capability) != 0 {
			continue
		}
		if err := onAllThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(capability)); err != nil {
			return fmt.Errorf("dropping number %d from the bounding set: %w", capability, err)
		}
	}
	return nil
}

// onAllThreads makes a system call on every thread of the process.
func onAllThreads(call, a, b uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(call, a, b, 0)
	switch {
	case errno == 0:
		return nil
	case errors.Is(errno, syscall.ENOTSUP):
		return fmt.Errorf("build this program with CGO_ENABLED=0: %w", errno)
	default:
		return errno
	}
}
