package escapes

import (
	"golang.org/x/sys/unix"
)

// Escape is what somebody may try who has taken over a thread of a node plugin. It returns the kernel's answer; nil is success.
type Escape struct {
	Name string
	Try  func() error
}

// RefusedToAll returns system calls that the filter of the process refuses to every thread. The arguments are wrong: a call that gets
// past the filter fails otherwise than with EPERM.
func RefusedToAll() []Escape {
	call := func(name string, number uintptr, arguments ...uintptr) Escape {
		var a [6]uintptr
		copy(a[:], arguments)
		return Escape{name, func() error {
			if _, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
				return errno
			}
			return nil
		}}
	}
	none := ^uintptr(0)
	return []Escape{
		call("run a program", unix.SYS_EXECVE),
		call("run a program by a descriptor", unix.SYS_EXECVEAT, none),
		call("enter a namespace", unix.SYS_SETNS, none, unix.CLONE_NEWNS),
		call("make a mount namespace", unix.SYS_UNSHARE, unix.CLONE_NEWNS|unix.CLONE_SIGHAND),
		call("make a user namespace", unix.SYS_UNSHARE, unix.CLONE_NEWUSER|unix.CLONE_SIGHAND),
		call("load a program into the kernel", unix.SYS_BPF, none),
		call("trace a process", unix.SYS_PTRACE, none),
		call("read a process's memory", unix.SYS_PROCESS_VM_READV, 0, 0, 0, 0, 0, 1),
		call("write a process's memory", unix.SYS_PROCESS_VM_WRITEV, 0, 0, 0, 0, 0, 1),
		call("signal a process", unix.SYS_KILL, 1, none),
		call("take a process's file", unix.SYS_PIDFD_GETFD, none),
		call("watch the processor", unix.SYS_PERF_EVENT_OPEN),
		call("use a keyring", unix.SYS_KEYCTL, none),
		call("load a module", unix.SYS_FINIT_MODULE, none),
		call("start another kernel", unix.SYS_KEXEC_LOAD, 0, none),
		call("open a file by its handle", unix.SYS_OPEN_BY_HANDLE_AT, none),
		call("make a device", unix.SYS_MKNODAT, none, 0, unix.S_IFCHR),
		call("change the root directory", unix.SYS_CHROOT),
		call("use io_uring", unix.SYS_IO_URING_SETUP),
		call("handle page faults", unix.SYS_USERFAULTFD, none),
		call("make a file of memory", unix.SYS_MEMFD_CREATE, 0, none),
		call("set the clock", unix.SYS_SETTIMEOFDAY, 1, 1),
		call("make memory executable", unix.SYS_MPROTECT, 1, 4096, unix.PROT_EXEC),
		call("map executable memory", unix.SYS_MMAP, 1, 0, unix.PROT_EXEC),
		call("open a socket for packets", unix.SYS_SOCKET, unix.AF_PACKET, none),
		call("open a socket of the kernel", unix.SYS_SOCKET, unix.AF_NETLINK, none),
		call("open a socket to the hypervisor", unix.SYS_SOCKET, unix.AF_VSOCK, none),
	}
}
