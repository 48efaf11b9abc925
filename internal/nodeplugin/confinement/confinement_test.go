package confinement

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// confinedEnv makes the test binary confine itself and try what a node plugin must not be able to do. The process cannot be the
// tests' own: what it gives up does not come back.
const confinedEnv = "IMAGECSI_TEST_CONFINED"

func TestMain(m *testing.M) {
	run := map[string]func() error{"tries": confined, "hides": hidden, "container": contained}[os.Getenv(confinedEnv)]
	if run == nil {
		os.Exit(m.Run())
	}
	if err := run(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func TestAConfinedProcessServesAndCannotDoMore(t *testing.T) { confine(t, "tries") }

func TestAConfinedProcessHidesItsMemory(t *testing.T) { confine(t, "hides") }

func TestAProcessKnowsWhatItsContainerLacks(t *testing.T) { confine(t, "container") }

// confine runs the test binary as a process that confines itself.
func confine(t *testing.T, what string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), self)
	command.Env = append(os.Environ(), confinedEnv+"="+what, "GOTRACEBACK=single")
	output, err := command.CombinedOutput()
	if bytes.Contains(output, []byte("CGO_ENABLED=0")) && race {
		t.Skip("the race detector needs cgo")
	}
	if err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

// hidden returns an error unless the kernel keeps the process's memory from others. It tells by the owner of its files in /proc,
// who is root then, whoever the process is (proc_pid(5)).
func hidden() error {
	const nobody = 65534
	if err := unix.Setuid(nobody); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil { // which a change of the user takes away
		return err
	}
	before, err := ownerOfMemory()
	if err != nil {
		return err
	}
	if _, err := Apply(nil); err != nil {
		return err
	}
	after, err := ownerOfMemory()
	if err == nil && (before != nobody || after != 0) {
		err = fmt.Errorf("the process's memory is owned by %d, and by %d once it is confined", before, after)
	}
	return err
}

func ownerOfMemory() (uint32, error) {
	var file unix.Stat_t
	err := unix.Stat("/proc/self/mem", &file)
	return file.Uid, err
}

// confined returns everything that does not hold of a process that has confined itself.
func confined() error {
	held, ended := threadsThatStood()
	defer ended()
	code, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	namespace, err := unix.Open("/proc/self/ns/mnt", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	kept := privileges.Serving(contract.AccessReadWrite)
	c, err := Apply(kept)
	if err != nil {
		return err
	}
	// A thread that stood before, and one that starts now, are alike.
	wrong := []error{c.Ready(context.Background()), held(func() error { return refused(code, namespace) })}
	wrong = append(wrong, onNewThread(func() error { return refused(code, namespace) }), serves(), c.Ready(context.Background()))
	return errors.Join(wrong...)
}

// threadsThatStood starts a thread and returns what runs on it.
func threadsThatStood() (run func(func() error) error, end func()) {
	work, result := make(chan func() error), make(chan error)
	go func() {
		runtime.LockOSThread()
		for f := range work {
			result <- f()
		}
	}()
	return func(f func() error) error { work <- f; return <-result }, func() { close(work) }
}

func onNewThread(f func() error) error {
	run, end := threadsThatStood()
	defer end()
	return run(f)
}

// refused returns an error for every forbidden call that does not fail with EPERM.
func refused(code []byte, namespace int) error {
	text := func(s string) uintptr {
		b, err := unix.BytePtrFromString(s)
		if err != nil {
			panic(err)
		}
		return uintptr(unsafe.Pointer(b))
	}
	page := uintptr(unsafe.Pointer(&code[0]))
	zero := uintptr(unsafe.Pointer(&make([]byte, 4096)[0]))
	parent := uintptr(os.Getppid())
	calls := []struct {
		name             string
		number           uintptr
		a, b, c, d, e, f uintptr
	}{
		{name: "execve", number: unix.SYS_EXECVE}, // of no program: one that started would not be told from here
		{name: "execveat", number: unix.SYS_EXECVEAT, a: ^uintptr(0)},
		{name: "setns", number: unix.SYS_SETNS, a: uintptr(namespace), b: unix.CLONE_NEWNS},
		{name: "unshare", number: unix.SYS_UNSHARE, a: unix.CLONE_NEWNS},
		{name: "unshare of a working directory", number: unix.SYS_UNSHARE, a: unix.CLONE_FS},
		{name: "unshare of users", number: unix.SYS_UNSHARE, a: unix.CLONE_NEWUSER},
		{name: "clone into a namespace", number: unix.SYS_CLONE, a: unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD)},
		{name: "bpf", number: unix.SYS_BPF, a: 0, b: zero, c: 48},
		{name: "ptrace", number: unix.SYS_PTRACE, a: unix.PTRACE_SEIZE, b: parent},
		{name: "process_vm_readv", number: unix.SYS_PROCESS_VM_READV, a: parent},
		{name: "process_vm_writev", number: unix.SYS_PROCESS_VM_WRITEV, a: parent},
		{name: "pidfd_open", number: unix.SYS_PIDFD_OPEN, a: parent},
		{name: "pidfd_getfd", number: unix.SYS_PIDFD_GETFD, a: ^uintptr(0)},
		{name: "kill", number: unix.SYS_KILL, a: parent},
		{name: "tgkill of another process", number: unix.SYS_TGKILL, a: parent, b: parent},
		{name: "perf_event_open", number: unix.SYS_PERF_EVENT_OPEN, a: zero},
		{name: "keyctl", number: unix.SYS_KEYCTL, a: 0},
		{name: "add_key", number: unix.SYS_ADD_KEY, a: zero},
		{name: "open_by_handle_at", number: unix.SYS_OPEN_BY_HANDLE_AT, a: ^uintptr(0), b: zero},
		{name: "pivot_root", number: unix.SYS_PIVOT_ROOT, a: text("/"), b: text("/")},
		{name: "chroot", number: unix.SYS_CHROOT, a: text("/")},
		{name: "mknodat", number: unix.SYS_MKNODAT, a: ^uintptr(99), b: text("/dev/null"), c: unix.S_IFCHR},
		{name: "init_module", number: unix.SYS_INIT_MODULE, a: zero},
		{name: "finit_module", number: unix.SYS_FINIT_MODULE, a: ^uintptr(0), b: zero},
		{name: "kexec_load", number: unix.SYS_KEXEC_LOAD},
		{name: "reboot", number: unix.SYS_REBOOT},
		{name: "swapon", number: unix.SYS_SWAPON, a: text("/none")},
		{name: "settimeofday", number: unix.SYS_SETTIMEOFDAY},
		{name: "sethostname", number: unix.SYS_SETHOSTNAME, a: zero},
		{name: "userfaultfd", number: unix.SYS_USERFAULTFD},
		{name: "io_uring_setup", number: unix.SYS_IO_URING_SETUP, a: 1, b: zero},
		{name: "memfd_create", number: unix.SYS_MEMFD_CREATE, a: text("x")},
		{name: "capset", number: unix.SYS_CAPSET, a: zero, b: zero},
		{name: "setuid", number: unix.SYS_SETUID, a: uintptr(os.Getuid())},
		{name: "seccomp", number: unix.SYS_SECCOMP, a: 1, b: 0, c: zero},
		{name: "prctl, to be dumpable", number: unix.SYS_PRCTL, a: unix.PR_SET_DUMPABLE, b: 1},
		{name: "prlimit64, to set a limit", number: unix.SYS_PRLIMIT64, a: 0, b: unix.RLIMIT_NOFILE, c: zero},
		{name: "ioctl of a terminal", number: unix.SYS_IOCTL, a: 0, b: unix.TIOCSTI, c: zero},
		{name: "mmap of code", number: unix.SYS_MMAP, b: 4096, c: unix.PROT_READ | unix.PROT_EXEC, d: unix.MAP_PRIVATE | unix.MAP_ANON, e: ^uintptr(0)},
		{name: "mprotect to code", number: unix.SYS_MPROTECT, a: page, b: 4096, c: unix.PROT_READ | unix.PROT_EXEC},
		{name: "pkey_mprotect to code", number: unix.SYS_PKEY_MPROTECT, a: page, b: 4096, c: unix.PROT_READ | unix.PROT_EXEC, d: ^uintptr(0)},
		{name: "a socket of packets", number: unix.SYS_SOCKET, a: unix.AF_PACKET, b: unix.SOCK_RAW},
		{name: "a socket of the kernel's", number: unix.SYS_SOCKET, a: unix.AF_NETLINK, b: unix.SOCK_RAW},
		{name: "a socket of machines", number: unix.SYS_SOCKET, a: unix.AF_VSOCK, b: unix.SOCK_STREAM},
	}
	var wrong []error
	for _, call := range calls {
		if _, _, errno := unix.Syscall6(call.number, call.a, call.b, call.c, call.d, call.e, call.f); errno != unix.EPERM {
			wrong = append(wrong, fmt.Errorf("%s: %w", call.name, error(errno)))
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_CLONE3, zero, 0, 0); errno != unix.ENOSYS {
		wrong = append(wrong, fmt.Errorf("clone3: %w", error(errno)))
	}
	return errors.Join(wrong...)
}

// serves returns an error if the process cannot do what every program does: threads, memory, files, connections, signals.
func serves() error {
	var wait sync.WaitGroup
	for range 32 {
		wait.Go(func() { _ = onNewThread(func() error { return nil }) })
	}
	wait.Wait()
	dir, err := os.MkdirTemp("", "confined")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	memory := make([]byte, 64<<20)
	runtime.GC()
	if err := os.WriteFile(filepath.Join(dir, "file"), memory[:1<<20], 0o600); err != nil {
		return err
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		return err
	}
	defer listener.Close()
	connection, err := net.Dial("unix", filepath.Join(dir, "socket"))
	if err != nil {
		return err
	}
	return connection.Close()
}

// Arm64 has no calls that a newer one, which is also listed, replaces. It must not lack any other.
func TestTheFilterAllowsTheSameOnEveryProcessor(t *testing.T) {
	replaced := strings.Fields("access arch_prctl chmod chown dup2 epoll_wait lchown lstat mkdir open poll readlink rename rmdir stat symlink unlink")
	names := privileges.Unconditional()
	for _, call := range privileges.Conditional() {
		names = append(names, call.Name)
	}
	for _, name := range names {
		if got := namesOn(arch.X86_64, []string{name}); !slices.Equal(got, []string{name}) {
			t.Errorf("x86-64 has %q for %s", got, name)
		}
		if got := namesOn(arch.AARCH64, []string{name}); (len(got) == 0) != slices.Contains(replaced, name) {
			t.Errorf("arm64 has %q for %s", got, name)
		}
	}
	if got := arch.AARCH64.SyscallNumbers[79]; got != namesOn(arch.AARCH64, []string{"newfstatat"})[0] {
		t.Errorf("arm64's stat is %s", got)
	}
}

func TestWhatIsNotInForceIsNamed(t *testing.T) {
	good := map[string]string{"CapInh": "0000000000000000", "CapPrm": "0000000000200000", "CapEff": "0000000000200000",
		"CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2", "Seccomp_filters": "2"}
	c := &Confinement{kept: 1 << unix.CAP_SYS_ADMIN, filters: 2}
	if err := c.holds(status(good)); err != nil {
		t.Errorf("a confined thread: %v", err)
	}
	for key, value := range map[string]string{"CapInh": "0000000000000001", "CapPrm": "0000000000280000", "CapEff": "000001ffffffffff",
		"CapAmb": "0000000000000002", "NoNewPrivs": "0", "Seccomp": "0", "Seccomp_filters": "1"} {
		thread := status{}
		for k, v := range good {
			thread[k] = v
		}
		thread[key] = value
		if err := c.holds(thread); err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), value) {
			t.Errorf("%s %s: %v", key, value, err)
		}
		delete(thread, key)
		if err := c.holds(thread); err == nil {
			t.Errorf("without a line %s: no error", key)
		}
	}
	if err := c.holds(status{}); err == nil {
		t.Error("of a thread that tells nothing: no error")
	}
	more := status{}
	for k, v := range good {
		more[k] = v
	}
	more["Seccomp_filters"], more["CapEff"] = "3", "0000000000000000"
	if err := c.holds(more); err != nil {
		t.Errorf("more confinement than asked for: %v", err)
	}
}
