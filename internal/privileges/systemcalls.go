package privileges

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Test compares an argument of a system call with a value.
type Test int

// The tests.
const (
	// Equal holds if the argument is the value.
	Equal Test = iota
	// NoBits holds if the argument has none of the value's bits.
	NoBits
)

// SystemCall is a system call with a condition on one argument.
type SystemCall struct {
	Name string
	// Argument is its index, from 0.
	Argument int
	Test     Test
	Value    uint64
}

const (
	// namespaces are all flags of clone(2) that make one.
	namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
		unix.CLONE_NEWPID | unix.CLONE_NEWNET

	// getAttributes and setAttributes are the requests FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR of ioctl(2): a directory's
	// project, for its quota.
	getAttributes = 0x801c581f
	setAttributes = 0x401c5820

	// shareContent is the request FICLONE of ioctl_ficlone(2): a file gets the content of another one without a copy.
	shareContent = 0x40049409
)

// Unconditional returns the system calls that a node plugin which serves may make with any arguments.
func Unconditional() []string {
	return append(filesAndThreads(), mounting()...)
}

// Conditional returns those that it may make with some arguments only. Of several entries for one call, any allows it.
func Conditional() []SystemCall {
	return append(Isolation(),
		// Memory never becomes code.
		SystemCall{"mmap", 2, NoBits, unix.PROT_EXEC},
		SystemCall{"mprotect", 2, NoBits, unix.PROT_EXEC},
		SystemCall{"prctl", 0, Equal, unix.PR_SET_VMA}, // the Go runtime names its memory
		SystemCall{"prlimit64", 2, Equal, 0},           // reads limits, and sets none
		SystemCall{"ioctl", 1, Equal, getAttributes},
		SystemCall{"ioctl", 1, Equal, setAttributes},
		SystemCall{"ioctl", 1, Equal, shareContent},
	)
}

// Isolation returns the conditions that hold from the start: threads, but no namespaces; sockets of three families.
// A filter cannot see the flags of clone3(2), so it must answer ENOSYS, which has its callers use clone(2).
func Isolation() []SystemCall {
	return []SystemCall{
		{"clone", 0, NoBits, namespaces},
		{"socket", 0, Equal, unix.AF_UNIX},
		{"socket", 0, Equal, unix.AF_INET},
		{"socket", 0, Equal, unix.AF_INET6},
	}
}

// Starting returns the system calls that are made on the way to serving besides, with any arguments: by the container runtime
// after it has put a filter on, by the process before it confines itself, and by the act of doing so.
func Starting() []string {
	return strings.Fields(`
capset execve ioctl kill mmap mprotect prctl prlimit64 seccomp setgid setgroups setresgid setresuid setrlimit setuid
tgkill wait4 waitid`)
}

// Entrance returns the conditions of system calls with which a mount thread gets a working directory of its own and enters the
// host's mount namespace. It enters no other, and is done with both before it serves.
func Entrance() []SystemCall {
	return []SystemCall{
		{"unshare", 0, Equal, unix.CLONE_FS},
		{"setns", 1, Equal, unix.CLONE_NEWNS},
	}
}

// filesAndThreads are what the Go runtime, files and sockets take. A filter is read from the top, so what is called most comes
// first. An architecture does not have all of them.
func filesAndThreads() []string {
	return strings.Fields(`
futex epoll_pwait read write nanosleep openat close newfstatat getpid
accept4 access arch_prctl bind brk chdir clock_gettime clock_nanosleep close_range connect dup dup2 dup3
epoll_create1 epoll_ctl epoll_pwait2 epoll_wait eventfd2 exit exit_group faccessat faccessat2 fadvise64 fallocate
fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync flock fstat fstatfs fsync ftruncate getcwd getdents64
getegid geteuid getgid getgroups getpeername getpgid getppid getrandom getrlimit getrusage getsockname getsockopt
gettid gettimeofday getuid getxattr inotify_add_watch inotify_init1 inotify_rm_watch lgetxattr listen lseek lstat
madvise membarrier mincore mkdir mkdirat mlock mremap munmap open openat2 pipe2 poll
ppoll pread64 pwrite64 readlink readlinkat readv recvfrom recvmsg rename renameat renameat2
restart_syscall rmdir rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield sendmsg sendto
set_robust_list set_tid_address setitimer setsockopt shutdown sigaltstack stat statfs statx symlink symlinkat
sysinfo timer_create timer_delete timer_settime umask uname unlink unlinkat utimensat writev`)
}

// mounting is what volumes take: mounts by either interface of the kernel, their table, the image's owners, modes, attributes,
// links, copies that outlive a power cut, and project quotas.
func mounting() []string {
	return strings.Fields(`
capget chmod chown fgetxattr flistxattr fsconfig fsetxattr fsmount fsopen lchown linkat listmount mount mount_setattr move_mount open_tree
open_tree_attr quotactl quotactl_fd statmount syncfs umount2`)
}
