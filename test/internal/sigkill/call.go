package sigkill

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// callInfo is struct ptrace_syscall_info of ptrace(2).
type callInfo struct {
	op     uint8
	_      [3]byte
	_      uint32 // the architecture
	_, _   uint64 // instruction and stack pointer
	number uint64
	args   [6]uint64
}

func (i *callInfo) size() uintptr    { return unsafe.Sizeof(*i) }
func (i *callInfo) address() uintptr { return uintptr(unsafe.Pointer(i)) }

// call is a system call of a process that is about to make it.
type call struct {
	pid    int
	number uint64
	args   [6]uint64
}

// kind says where a system call has its path or descriptor, and when it has a side effect.
type kind struct {
	name string
	path int // the argument with a path; -1 is none
	file int // the argument with a descriptor; -1 is none
	when func(call) bool
}

func always(call) bool { return true }

// kinds are the system calls by which the node plugin and the libraries in it change anything that outlives the
// process. Go makes no others on files: it knows only those that name a directory by a descriptor.
var kinds = map[uint64]kind{
	unix.SYS_OPENAT:      {"create", 1, -1, call.creates},
	unix.SYS_MKDIRAT:     {"mkdir", 1, -1, always},
	unix.SYS_MKNODAT:     {"mknod", 1, -1, always},
	unix.SYS_SYMLINKAT:   {"symlink", 2, -1, always},
	unix.SYS_LINKAT:      {"link", 3, -1, always},
	unix.SYS_RENAMEAT:    {"rename", 1, -1, always},
	unix.SYS_RENAMEAT2:   {"rename", 1, -1, always},
	unix.SYS_UNLINKAT:    {"unlink", 1, -1, always},
	unix.SYS_FCHOWNAT:    {"chown", 1, -1, always},
	unix.SYS_FCHOWN:      {"chown", -1, 0, always},
	unix.SYS_FCHMODAT:    {"chmod", 1, -1, always},
	unix.SYS_FCHMODAT2:   {"chmod", 1, -1, always},
	unix.SYS_FCHMOD:      {"chmod", -1, 0, always},
	unix.SYS_UTIMENSAT:   {"utimens", 1, -1, always},
	unix.SYS_FTRUNCATE:   {"truncate", -1, 0, always},
	unix.SYS_SETXATTR:    {"setxattr", 0, -1, always},
	unix.SYS_LSETXATTR:   {"setxattr", 0, -1, always},
	unix.SYS_FSETXATTR:   {"setxattr", -1, 0, always},
	unix.SYS_WRITE:       {"write", -1, 0, call.lasts},
	unix.SYS_PWRITE64:    {"write", -1, 0, call.lasts},
	unix.SYS_WRITEV:      {"write", -1, 0, call.lasts},
	unix.SYS_SENDTO:      {"send", -1, 0, call.lasts},
	unix.SYS_SENDMSG:     {"send", -1, 0, call.lasts},
	unix.SYS_BIND:        {"bind", -1, 0, always},
	unix.SYS_MOUNT:       {"mount", 1, -1, always},
	unix.SYS_UMOUNT2:     {"umount", 0, -1, always},
	unix.SYS_FSCONFIG:    {"create file system", -1, -1, func(c call) bool { return c.args[1] == unix.FSCONFIG_CMD_CREATE }},
	unix.SYS_FSMOUNT:     {"fsmount", -1, -1, always},
	unix.SYS_MOVE_MOUNT:  {"move mount", -1, 2, always},
	unix.SYS_QUOTACTL:    {"quotactl", -1, -1, always},
	unix.SYS_QUOTACTL_FD: {"quotactl", -1, 0, always},
	unix.SYS_IOCTL:       {"set attributes", -1, 0, func(c call) bool { return c.args[1] == setFileAttributes }},
}

// setFileAttributes is FS_IOC_FSSETXATTR of include/uapi/linux/fs.h.
const setFileAttributes = 0x401c5820

// step names the call, if it has a side effect that outlives the process.
func (c call) step() (string, bool) {
	kind, ok := kinds[c.number]
	if !ok || !kind.when(c) {
		return "", false
	}
	name := kind.name
	if kind.path >= 0 {
		name += " " + c.text(c.args[kind.path])
	}
	if kind.file >= 0 {
		name += " " + c.file(c.args[kind.file])
	}
	return name, true
}

// sends reports whether the call hands something to another process, which acts on it while this one is dead.
func (c call) sends() bool {
	writes := []uint64{unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_SENDTO, unix.SYS_SENDMSG}
	return slices.Contains(writes, c.number) && strings.HasPrefix(c.file(c.args[0]), "socket:")
}

// creates reports whether an openat makes or empties a file. Lock files are opened as if they had to be made each time.
func (c call) creates() bool {
	if c.args[2]&unix.O_CREAT == 0 {
		return false
	}
	_, err := os.Lstat(fmt.Sprintf("/proc/%d/root/%s", c.pid, c.text(c.args[1])))
	return err != nil || c.args[2]&unix.O_TRUNC != 0
}

// lasts reports whether what is written goes to a file or a socket, and not to the log or within the process.
func (c call) lasts() bool {
	file := c.file(c.args[0])
	return c.args[0] > 2 && (strings.HasPrefix(file, "/") || strings.HasPrefix(file, "socket:"))
}

func (c call) file(descriptor uint64) string {
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", c.pid, int32(descriptor)))
	if err != nil {
		return err.Error()
	}
	return name
}

// text reads a string of the process.
func (c call) text(address uint64) string {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", c.pid))
	if err != nil {
		return err.Error()
	}
	defer memory.Close()
	text := make([]byte, unix.PathMax)
	n, _ := memory.ReadAt(text, int64(address)) // shorter at the end of the process's memory
	text, _, _ = bytes.Cut(text[:n], []byte{0})
	return string(text)
}

func containsLine(text, line string) bool {
	return slices.Contains(strings.Split(text, "\n"), line)
}
