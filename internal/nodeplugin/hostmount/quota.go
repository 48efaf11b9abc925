package hostmount

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// quotactl(2) on project quotas; numbers from the kernel's include/uapi/linux/quota.h.
const (
	projectQuota = 2 // PRJQUOTA
	getQuota     = 0x800007<<8 | projectQuota
	setQuota     = 0x800008<<8 | projectQuota

	limitsAreSet = 1 | 4 // QIF_BLIMITS and QIF_ILIMITS

	// quotaBlock is the unit of block limits, whatever the file system's is.
	quotaBlock = 1024
)

// quota is struct if_dqblk.
type quota struct {
	blockLimit, blockSoftLimit, bytesUsed  uint64
	inodeLimit, inodeSoftLimit, inodesUsed uint64
	blockTime, inodeTime                   uint64
	valid                                  uint32
	_                                      uint32
}

// fileAttributes is struct fsxattr, and the requests that read and write it, of include/uapi/linux/fs.h. Their numbers
// are those of amd64, arm64 and most others.
type fileAttributes struct {
	flags, extentSize, extents, project, cowExtentSize uint32
	_                                                  [8]byte
}

const (
	getFileAttributes = 0x801c581f // FS_IOC_FSGETXATTR
	setFileAttributes = 0x401c5820 // FS_IOC_FSSETXATTR

	inheritProject = 0x200 // FS_XFLAG_PROJINHERIT: what is made in the directory belongs to its project
)

func fileAttributesOf(fd int) (fileAttributes, error) {
	var attributes fileAttributes
	err := ioctl(fd, getFileAttributes, unsafe.Pointer(&attributes)) //nolint:gosec // ioctl(2) takes a pointer
	if err != nil {
		return attributes, noQuota("reading the project of a directory", err)
	}
	return attributes, nil
}

func setFileAttributesOf(fd int, attributes fileAttributes) error {
	return ioctl(fd, setFileAttributes, unsafe.Pointer(&attributes)) //nolint:gosec // ioctl(2) takes a pointer
}

// setProject gives a directory, and what is made in it from now on, a project.
func (e *Engine) setProject(fd int, project uint32) error {
	attributes, err := e.kernel.attributes(fd)
	if err != nil || (attributes.project == project && attributes.flags&inheritProject != 0) {
		return err
	}
	attributes.project, attributes.flags = project, attributes.flags|inheritProject
	if err := e.kernel.setAttributes(fd, attributes); err != nil {
		return noQuota("giving a directory its project", err)
	}
	return nil
}

// quotaCalls are the system calls about projects and their quotas. Tests replace them if the kernel has none.
type quotaCalls struct {
	attributes    func(fd int) (fileAttributes, error)
	setAttributes func(fd int, attributes fileAttributes) error
	quotactl      func(dir int, command uintptr, project uint32, q *quota) error
}

// KeepProject stops an open directory from passing its project on: what is moved or made there may be of another one.
func KeepProject(dir *os.File) error {
	attributes, err := fileAttributesOf(int(dir.Fd()))
	if err != nil || attributes.flags&inheritProject == 0 {
		return err
	}
	attributes.flags &^= inheritProject
	if err := setFileAttributesOf(int(dir.Fd()), attributes); err != nil {
		return fmt.Errorf("stopping a directory from passing its project on: %w", err)
	}
	return nil
}

func ioctl(fd int, request uintptr, argument unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(argument))
	if errno != 0 {
		return errno
	}
	return nil
}

// quotaOf reads the quota of a directory's project; ok is false if the project is not one of ours.
func (e *Engine) quotaOf(dir int) (found quota, ok bool, err error) {
	attributes, err := e.kernel.attributes(dir)
	if errors.Is(err, ErrNoQuota) || (err == nil && !isOurs(attributes.project)) {
		return quota{}, false, nil
	}
	if err != nil {
		return quota{}, false, err
	}
	found, err = e.getQuota(dir, attributes.project)
	return found, err == nil && found.blockLimit != 0, err
}

// getQuota reads the quota of a project on the file system of dir. A project that the file system does not know has
// no limit and uses nothing.
func (e *Engine) getQuota(dir int, project uint32) (quota, error) {
	var found quota
	err := e.kernel.quotactl(dir, getQuota, project, &found)
	if errors.Is(err, unix.ENOENT) {
		return quota{}, nil
	}
	if err != nil {
		return quota{}, noQuota("reading a project quota", err)
	}
	return found, nil
}

func (e *Engine) setQuota(dir int, project uint32, q quota) error {
	q.valid = limitsAreSet
	if err := e.kernel.quotactl(dir, setQuota, project, &q); err != nil {
		return noQuota("setting a project quota", err)
	}
	return nil
}

// quotactl names the file system by a descriptor (5.14) or, where the kernel or a seccomp profile does not know that,
// by its device.
func (e *Engine) quotactl(dir int, command uintptr, project uint32, q *quota) error {
	errno := unix.ENOSYS
	if !e.quotaByDevice {
		_, _, errno = unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(dir), command, uintptr(project),
			uintptr(unsafe.Pointer(q)), 0, 0) //nolint:gosec // quotactl_fd(2) takes a pointer
	}
	if errno == unix.ENOSYS || errno == unix.EPERM {
		device, err := deviceOf(dir)
		if err != nil {
			return err
		}
		_, _, errno = unix.Syscall6(unix.SYS_QUOTACTL, command,
			uintptr(unsafe.Pointer(device)),                    //nolint:gosec // quotactl(2) takes pointers
			uintptr(project), uintptr(unsafe.Pointer(q)), 0, 0) //nolint:gosec // as above
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// deviceOf returns the path, in the thread's namespace, of the block device that holds a directory.
func deviceOf(dir int) (*byte, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(dir, &stat); err != nil {
		return nil, err
	}
	mounts, err := readMountTable()
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		var device unix.Stat_t
		if m.Device == stat.Dev && unix.Stat(m.Source, &device) == nil && device.Rdev == stat.Dev {
			return unix.BytePtrFromString(m.Source)
		}
	}
	return nil, fmt.Errorf("the mount table names no device %d:%d: %w", unix.Major(stat.Dev), unix.Minor(stat.Dev), unix.ENOTBLK)
}

// noQuota gives the errors that mean "not with this file system" their type. ESRCH: its quotas are off.
func noQuota(attempt string, err error) error {
	for _, without := range []error{unix.ESRCH, unix.ENOSYS, unix.ENOTTY, unix.EOPNOTSUPP, unix.ENOTBLK, unix.EINVAL} {
		if errors.Is(err, without) {
			return fmt.Errorf("%w (%s: %w)", ErrNoQuota, attempt, err)
		}
	}
	return explain(attempt, err, unix.CAP_SYS_ADMIN, unix.CAP_FOWNER)
}
