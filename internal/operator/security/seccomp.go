package security

import "strings"

// States that the Security Profiles Operator gives a profile: the lowest of all nodes (its API, status.status).
const (
	SeccompPending     = "Pending"
	SeccompInProgress  = "InProgress"
	SeccompInstalled   = "Installed"
	SeccompTerminating = "Terminating"
)

// Seccomp is the state of the node plugin's own seccomp profile.
type Seccomp struct {
	// Profile is the name of the SeccompProfile; empty if none is asked for.
	Profile string
	// Missing is set when the cluster lacks the kind.
	Missing bool
	// State is the profile's state by the Security Profiles Operator, and Message why; both may be empty.
	State, Message string
	// File is what the node plugins get: a path below the kubelet's directory for profiles. Empty: the runtime's own.
	File string
}

// Flags of clone(2), unshare(2) and setns(2), and address families of socket(2).
const (
	cloneFS    = 0x200
	cloneNewNS = 0x20000
	// cloneNew are all the flags that make a namespace.
	cloneNew = 0x7e020000

	afUnix  = 1
	afInet  = 2
	afInet6 = 10

	enosys = 38
)

// Profile is the seccomp profile of the node plugin in mode Nsenter: the spec of a SeccompProfile, which has the fields of
// the OCI runtime specification (config-linux.md, "Seccomp"). What it does not list fails with EPERM. A runtime skips
// names that the processor's architecture does not have.
func Profile() map[string]any {
	return map[string]any{
		"defaultAction": "SCMP_ACT_ERRNO",
		"syscalls": []any{
			allow(filesAndProcesses()),
			allow(mounting()),
			allow(starting()),
			// A mount thread gets a working directory of its own and enters the host's mount namespace: no other.
			allow([]any{"unshare"}, argument(0, "SCMP_CMP_EQ", cloneFS)),
			allow([]any{"setns"}, argument(1, "SCMP_CMP_EQ", cloneNewNS)),
			// Threads, but no namespaces. A filter cannot see the flags of clone3; ENOSYS has its callers use clone.
			allow([]any{"clone"}, argument(0, "SCMP_CMP_MASKED_EQ", cloneNew)),
			map[string]any{"names": []any{"clone3"}, "action": "SCMP_ACT_ERRNO", "errnoRet": int64(enosys)},
			allow([]any{"socket"}, argument(0, "SCMP_CMP_EQ", afUnix)),
			allow([]any{"socket"}, argument(0, "SCMP_CMP_EQ", afInet)),
			allow([]any{"socket"}, argument(0, "SCMP_CMP_EQ", afInet6)),
		},
	}
}

func allow(names []any, arguments ...any) map[string]any {
	rule := map[string]any{"names": names, "action": "SCMP_ACT_ALLOW"}
	if len(arguments) > 0 {
		rule["args"] = arguments
	}
	return rule
}

// argument compares an argument of a system call. With SCMP_CMP_MASKED_EQ, none of the value's bits may be set.
func argument(index int64, operator string, value int64) map[string]any {
	return map[string]any{"index": index, "op": operator, "value": value}
}

// filesAndProcesses are what the Go runtime, files, sockets and threads take.
func filesAndProcesses() []any {
	return names(`
accept4 access arch_prctl bind brk chdir clock_gettime clock_nanosleep close close_range connect dup dup2 dup3
epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd2 exit exit_group faccessat faccessat2 fadvise64 fallocate
fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync flock fstat fstatfs fsync ftruncate futex getcwd getdents64
getegid geteuid getgid getgroups getpeername getpgid getpid getppid getrandom getrlimit getrusage getsockname getsockopt
gettid gettimeofday getuid getxattr inotify_add_watch inotify_init1 inotify_rm_watch kill lgetxattr listen lseek lstat
madvise membarrier mincore mkdir mkdirat mlock mmap mprotect mremap munmap nanosleep newfstatat open openat openat2 pipe2 poll
ppoll prctl pread64 prlimit64 pwrite64 read readlink readlinkat readv recvfrom recvmsg rename renameat renameat2
restart_syscall rmdir rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield sendmsg sendto
set_robust_list set_tid_address setitimer setrlimit setsockopt shutdown sigaltstack stat statfs statx symlink symlinkat
sysinfo tgkill timer_create timer_delete timer_settime umask uname unlink unlinkat utimensat wait4 waitid write writev`)
}

// mounting is what volumes take: mounts by either interface of the kernel, their table, the image's owners and modes, and
// project quotas (ioctl sets a directory's project).
func mounting() []any {
	return names(`
capget capset chmod chown fsconfig fsmount fsopen ioctl lchown listmount mount mount_setattr move_mount open_tree
open_tree_attr quotactl quotactl_fd statmount umount2`)
}

// starting is what the runtime's own code calls after it has put the filter on: the rest of the container's start.
func starting() []any {
	return names(`execve setgid setgroups setresgid setresuid setuid`)
}

func names(list string) []any {
	var out []any
	for name := range strings.FieldsSeq(list) {
		out = append(out, name)
	}
	return out
}
