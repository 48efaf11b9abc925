package hostmount

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountTable is the calling thread's mount namespace as proc_pid_mountinfo(5) describes it.
const mountTable = "/proc/thread-self/mountinfo"

// Mount is one mount of the engine's namespace.
type Mount struct {
	Target   string // the mount point; beneath the engine's root as the configuration spells the root
	Source   string // the source string; an overlay's is free to choose
	FSType   string // the file system's type, such as "overlay"
	Root     string // the directory of the file system that is mounted: "/" unless it is a bind
	Upper    string // an overlay's upper directory as its mounter named it; empty for what is read-only for good
	ReadOnly bool   // the mount or its file system is read-only
	Device   uint64 // of the file system, as stat(2) reports it; equal for all mounts of one file system

	id, parent int
	peers      int // the peer group to which what is mounted and unmounted beneath it propagates; 0 is none
	master     int // the peer group from which it receives that; 0 is none
}

// Mounts lists the mounts of the engine's namespace.
func (e *Engine) Mounts(ctx context.Context) ([]Mount, error) {
	var mounts []Mount
	err := e.do(ctx, func() (err error) {
		mounts, err = e.mounts()
		return err
	})
	return mounts, err
}

// mounts runs on a mount thread. The kernel reports real paths. If the root is reached through a symbolic link, mounts
// returns paths as callers name them.
func (e *Engine) mounts() ([]Mount, error) {
	mounts, err := readMountTable()
	if err != nil {
		return nil, err
	}
	root, err := e.openRoot()
	if err != nil {
		return nil, err
	}
	defer closeFD(root)
	real, err := pathOf(root)
	if err != nil {
		return nil, err
	}
	for i, m := range mounts {
		if real != e.config.Root && isBeneath(real, m.Target) {
			mounts[i].Target = e.config.Root + strings.TrimPrefix(m.Target, real)
		}
	}
	return mounts, nil
}

// mountAt returns the topmost mount whose root is the directory behind fd, nil if that is no mount's root.
func mountAt(fd int) (*Mount, error) {
	var stat unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &stat)
	known := err == nil && stat.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0
	if known && stat.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return nil, nil
	}
	real, err := pathOf(fd)
	if err != nil {
		return nil, err
	}
	mounts, err := readMountTable()
	if err != nil {
		return nil, err
	}
	return topmost(mounts, real), nil
}

// topmost returns the mount at target on which no other lies.
func topmost(mounts []Mount, target string) *Mount {
	here := slices.DeleteFunc(mounts, func(m Mount) bool { return m.Target != target })
	for i, m := range here {
		if !slices.ContainsFunc(here, func(other Mount) bool { return other.parent == m.id && other.id != m.id }) {
			return &here[i]
		}
	}
	return nil
}

// pathOf returns the path of the directory behind fd in the thread's namespace. It moves the thread there.
func pathOf(fd int) (string, error) {
	if err := unix.Fchdir(fd); err != nil {
		return "", fmt.Errorf("changing to a directory to learn its path: %w", err)
	}
	path, err := unix.Getwd()
	if err != nil {
		return "", fmt.Errorf("learning a directory's path: %w", err)
	}
	if !strings.HasPrefix(path, "/") {
		return "", errors.New("a directory lies outside the mount namespace")
	}
	return path, nil
}

func readMountTable() ([]Mount, error) {
	fd, err := unix.Open(mountTable, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, explain("opening "+mountTable, err)
	}
	defer closeFD(fd)
	return parseMounts(fdReader(fd))
}

// parseMounts reads a table in the form of proc_pid_mountinfo(5).
func parseMounts(table io.Reader) ([]Mount, error) {
	infos, err := mountinfo.GetMountsFromReader(&lineLimiter{lines: bufio.NewReaderSize(table, maxLine)}, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the mount table: %w", err)
	}
	mounts := make([]Mount, 0, len(infos))
	for _, info := range infos {
		mounts = append(mounts, Mount{
			Target:   info.Mountpoint,
			Source:   info.Source,
			FSType:   info.FSType,
			Root:     info.Root,
			Upper:    upperOf(info),
			ReadOnly: hasOption(info.Options, "ro") || hasOption(info.VFSOptions, "ro"),
			id:       info.ID,
			parent:   info.Parent,
			peers:    groupOf(info.Optional, "shared:"),
			master:   groupOf(info.Optional, "master:"),
			Device:   unix.Mkdev(uint32(info.Major), uint32(info.Minor)),
		})
	}
	return mounts, nil
}

// groupOf reads a peer group from the optional fields of a line, 0 if there is none (proc_pid_mountinfo(5), field 7).
func groupOf(fields, tag string) int {
	for field := range strings.FieldsSeq(fields) {
		if number, ok := strings.CutPrefix(field, tag); ok {
			group, _ := strconv.Atoi(number)
			return group
		}
	}
	return 0
}

// upperOf reads the upper directory from an overlay's options.
func upperOf(info *mountinfo.Info) string {
	const key = ",upperdir="
	if info.FSType != "overlay" {
		return ""
	}
	_, rest, _ := strings.Cut(info.VFSOptions, key)
	upper, _, _ := strings.Cut(rest, ",")
	return octal.ReplaceAllStringFunc(upper, func(escaped string) string {
		code, _ := strconv.ParseUint(escaped[1:], 8, 8)
		return string([]byte{byte(code)})
	})
}

// octal is how the kernel writes characters that part options (seq_show_option of include/linux/seq_file.h).
var octal = regexp.MustCompile(`\\[0-3][0-7]{2}`)

func hasOption(list, name string) bool {
	return slices.Contains(strings.Split(list, ","), name)
}
