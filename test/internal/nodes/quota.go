package nodes

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// quotactl(2) on project quotas; numbers from include/uapi/linux/quota.h.
const (
	projectQuota = 2                          // PRJQUOTA
	getInfo      = 0x800005<<8 | projectQuota // Q_GETINFO
	getNextQuota = 0x800009<<8 | projectQuota // Q_GETNEXTQUOTA
)

// HasQuotas asks the kernel whether the file system of the node's kubelet counts what projects use, so that volumes can
// be limited.
func (t *Target) HasQuotas(test testing.TB) bool {
	test.Helper()
	var info [3]uint64 // struct if_dqinfo
	err := t.quotactl(test, getInfo, 0, unsafe.Pointer(&info))
	test.Logf("project quotas on %s: %v", t.Name, err)
	return err == nil
}

// nextQuota is struct if_nextdqblk.
type nextQuota struct {
	blockLimit, _, _ uint64
	inodeLimit       uint64
	_                [4]uint64
	_, project       uint32
}

// LimitedProjects lists the projects that have a limit on the file system of the node's kubelet, which all nodes of a
// suite share. There are none where it has no quotas.
func (t *Target) LimitedProjects(test testing.TB) []uint32 {
	test.Helper()
	var found []uint32
	for project := uint32(0); ; project++ {
		var next nextQuota
		err := t.quotactl(test, getNextQuota, project, unsafe.Pointer(&next))
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY):
			return found
		case err != nil:
			test.Fatalf("listing the project quotas of %s: %v", t.Name, err)
		}
		if project = next.project; next.blockLimit != 0 || next.inodeLimit != 0 {
			found = append(found, project)
		}
	}
}

// SetProject gives a directory of the node a project, which what is made in it inherits, as an administrator does who limits
// the directory.
func (t *Target) SetProject(test testing.TB, path string, project uint32) {
	test.Helper()
	const get, set, inherit = 0x801c581f, 0x401c5820, 0x200 // FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR, FS_XFLAG_PROJINHERIT
	dir, err := os.Open(filepath.Join(t.Root(), path))
	if err != nil {
		test.Fatal(err)
	}
	defer dir.Close()
	var attributes struct { // struct fsxattr
		flags, _, _, project, _ uint32
		_                       [8]byte
	}
	for _, request := range []uintptr{get, set} {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), request, uintptr(unsafe.Pointer(&attributes))); errno != 0 {
			test.Fatalf("the project of %s: %v", path, errno)
		}
		attributes.flags, attributes.project = attributes.flags|inherit, project
	}
}

func (t *Target) quotactl(test testing.TB, command uintptr, project uint32, argument unsafe.Pointer) error {
	test.Helper()
	dir, err := os.Open(filepath.Join(t.Root(), KubeletRoot))
	if err != nil {
		test.Fatal(err)
	}
	defer dir.Close()
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, dir.Fd(), command, uintptr(project), uintptr(argument), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
