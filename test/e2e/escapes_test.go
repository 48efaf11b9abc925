package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/imitate"
)

// An escape is what somebody may try who has taken over a thread of a node plugin. It returns the kernel's answer; nil is success.
type escape struct {
	name string
	try  func() error
}

// refusedToAll are system calls that the filter of the process refuses to every thread. The arguments are wrong: a call that gets
// past the filter fails otherwise than with EPERM.
func refusedToAll() []escape {
	call := func(name string, number uintptr, arguments ...uintptr) escape {
		var a [6]uintptr
		copy(a[:], arguments)
		return escape{name, func() error {
			if _, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
				return errno
			}
			return nil
		}}
	}
	none := ^uintptr(0)
	return []escape{
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

// powers are what some threads can do. What docs/security.md says of a node plugin that is taken over is held to this list.
func powers(runtimeSocket string) []escape {
	return []escape{
		{"write to the node's /etc", func() error {
			const name = "/etc/imagecsi-escape"
			fd, err := unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			return errors.Join(unix.Close(fd), unix.Unlink(name))
		}},
		{"read the kubelet's directories of pods", func() error { return opened("/var/lib/kubelet/pods", unix.O_DIRECTORY) }},
		{"write the node's settings in /proc/sys", func() error { return opened("/proc/sys/kernel/core_pattern", unix.O_WRONLY) }},
		{"reach the container runtime", func() error { return connected(runtimeSocket) }},
	}
}

func opened(name string, flags int) error {
	fd, err := unix.Open(name, flags, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// connected does what net.Dial does without its threads.
func connected(socket string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
}

// column is a kind of thread, and what somebody who has taken it over can do by docs/security.md.
type column struct {
	name, class, socket string
	mounts              bool   // a mount thread, in the node's mount namespace
	may                 string // of powers, in their order
}

func whoTakesOverANodePluginGetsNoMore(t *testing.T, s *suite) {
	const containerd = "/run/containerd/containerd.sock"
	s.attack(t,
		column{"containerd, serving", "containerd", containerd, false, "no no no yes"},
		column{"containerd, mounting", "containerd", containerd, true, "yes yes yes yes"},
		column{"CRI-O, Bidirectional", "crio", crioSocket, false, "no yes yes yes"})
}

const crioSocket = "/run/crio/crio.sock"

// whoTakesOverAnUnprivilegedNodePluginOfCRIOGetsNoMore is the same of CRI-O nodes in mode Nsenter.
func whoTakesOverAnUnprivilegedNodePluginOfCRIOGetsNoMore(t *testing.T, s *suite) {
	s.attack(t,
		column{"CRI-O, Nsenter, serving", "crio", crioSocket, false, "no no no yes"},
		column{"CRI-O, Nsenter, mounting", "crio", crioSocket, true, "yes yes yes yes"})
}

// attack tries every escape on a thread like each column's.
func (s *suite) attack(t *testing.T, columns ...column) {
	for _, column := range columns {
		t.Run(column.name, func(t *testing.T) {
			thread := s.threadOf(t, column.class, column.mounts)
			var wrong, may []string
			err := imitate.Thread(thread, func() {
				for _, e := range powers(column.socket) {
					answer := "yes"
					if e.try() != nil {
						answer = "no"
					}
					may = append(may, answer)
				}
				for _, e := range refusedToAll() {
					if err := e.try(); !errors.Is(err, unix.EPERM) {
						wrong = append(wrong, fmt.Sprintf("to %s: %v", e.name, err))
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range wrong {
				t.Error(w)
			}
			if got := strings.Join(may, " "); got != column.may {
				t.Errorf("of its powers it has %q, and docs/security.md says %q", got, column.may)
			}
		})
	}
}

// threadOf returns a thread of the node plugin of a class, as this machine numbers it: one that mounts, in another mount namespace
// than the process, or one that does not.
func (s *suite) threadOf(t *testing.T, class string, mounts bool) int {
	t.Helper()
	process := filepath.Dir(filepath.Dir(filepath.Dir(s.threadsOf(t, nodes()[class], contract.NodePluginBinary)[0])))
	pod := namespaceOf(t, process, "pid")
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		arguments, err := os.ReadFile(filepath.Join(process, "cmdline"))
		if err != nil || !strings.HasPrefix(string(arguments), contract.NodePluginBinary+"\x00") || namespaceOf(t, process, "pid") != pod {
			continue
		}
		threads, err := filepath.Glob(filepath.Join(process, "task/[0-9]*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			if (namespaceOf(t, thread, "mnt") != namespaceOf(t, process, "mnt")) == mounts {
				tid, err := strconv.Atoi(filepath.Base(thread))
				if err != nil {
					t.Fatal(err)
				}
				return tid
			}
		}
	}
	t.Fatalf("no thread of the node plugin of class %s is such", class)
	return 0
}

// namespaceOf identifies a namespace of a process, or of a thread.
func namespaceOf(t *testing.T, process, kind string) string {
	t.Helper()
	namespace, err := os.Readlink(filepath.Join(process, "ns", kind))
	if err != nil {
		t.Fatal(err)
	}
	return namespace
}
