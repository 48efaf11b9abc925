package sandboxprobe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// base is the directory over which the sandbox is built, and hides what was there.
const base = "/tmp"

// devices that a sandbox has of its container's, as bubblewrap's --dev gives them.
func devices() []string { return []string{"null", "zero", "full", "random", "urandom", "tty"} }

// Build makes the file system of the sandbox in the namespaces of this process, with the container's own read-only as its root, its
// own /proc, /dev and /tmp and its own network, and starts Look there.
func Build(ctx context.Context, stages Stages) error {
	if err := apart(); err != nil {
		return &failure{"prepare the sandbox", err}
	}
	for _, part := range []struct {
		step step
		do   func() error
	}{
		{"take the mounts from the container", func() error { return unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC|unix.MS_SILENT, "") }},
		{"set up the loopback device", loopbackUp},
		{"mount a file system in memory", func() error { return unix.Mount("tmpfs", base, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "") }},
		{"change the root directory", enterBase},
		{"bind the container's files", bindRoot},
		{mountProc, func() error {
			return unix.Mount("proc", "/newroot/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}},
		{"make /dev", makeDev},
		{"mount /tmp", func() error { return unix.Mount("tmpfs", "/newroot/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "") }},
		{"leave the container's root directory", leave},
	} {
		if err := part.do(); err != nil {
			return &failure{part.step, err}
		}
	}
	// What starts from here has no capability, as bubblewrap's programs.
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return &failure{"drop the capabilities", err}
	}
	return start(ctx, "start a program in the sandbox", stages.Look, nil)
}

// apart returns an error unless this process is the first of new namespaces and has one user. Anywhere else, what Build does would
// change the mounts of whoever runs it.
func apart() error {
	users, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return err
	}
	return isApart(os.Getpid(), string(users))
}

// isApart decides by the process ID and the user mapping (user_namespaces(7)): the first user inside, the first outside, and how many.
func isApart(pid int, users string) error {
	fields := strings.Fields(users)
	if pid != 1 || len(fields) != 3 || fields[2] != "1" {
		return errors.New("this is not a process in namespaces of its own, which the probe starts")
	}
	return nil
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// enterBase makes base the root directory, with the container's root at /oldroot.
func enterBase() error {
	if err := unix.Chdir(base); err != nil {
		return err
	}
	for _, dir := range []string{"newroot", "oldroot"} {
		if err := unix.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("newroot", "newroot", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := unix.PivotRoot(base, "oldroot"); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// bindRoot binds the container's root, and makes it read-only. The kernel lets a user namespace change no other flag of a mount that it
// did not make (mount_namespaces(7)).
func bindRoot() error {
	if err := unix.Mount("/oldroot", "/newroot", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	var stat unix.Statfs_t
	if err := unix.Statfs("/newroot", &stat); err != nil {
		return err
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY)
	for has, flag := range map[int64]uintptr{
		unix.ST_NOSUID: unix.MS_NOSUID, unix.ST_NODEV: unix.MS_NODEV, unix.ST_NOEXEC: unix.MS_NOEXEC,
		unix.ST_NOATIME: unix.MS_NOATIME, unix.ST_NODIRATIME: unix.MS_NODIRATIME, unix.ST_RELATIME: unix.MS_RELATIME,
	} {
		if int64(stat.Flags)&has != 0 { //nolint:unconvert // its type differs between architectures
			flags |= flag
		}
	}
	return unix.Mount("", "/newroot", "", flags, "")
}

func makeDev() error {
	const dev = "/newroot/dev"
	if err := unix.Mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return err
	}
	for _, name := range devices() {
		file, err := os.OpenFile(dev+"/"+name, os.O_CREATE|os.O_RDONLY, 0o600)
		if err != nil {
			return err
		}
		_ = file.Close()
		if err := unix.Mount("/oldroot/dev/"+name, dev+"/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := unix.Mkdir(dev+"/pts", 0o755); err != nil {
		return err
	}
	return unix.Mount("devpts", dev+"/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
}

// leave makes the new root the root directory, and detaches everything else.
func leave() error {
	if err := unix.Mount("", "/oldroot", "", unix.MS_PRIVATE|unix.MS_REC|unix.MS_SILENT, ""); err != nil {
		return err
	}
	if err := unix.Unmount("/oldroot", unix.MNT_DETACH); err != nil {
		return err
	}
	if err := unix.Chdir("/newroot"); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}
