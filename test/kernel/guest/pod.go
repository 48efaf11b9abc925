package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// pod does in its container what pods do with a volume.
func pod(args []string) error {
	switch args[0] {
	case "ok": // as the image's own program
		return nil
	case "wait":
		return wait()
	case "write-copy":
		return writeCopy()
	case "write-copy-again":
		return writeCopyAgain()
	case "forbidden-copy":
		_, err := os.ReadFile("/volume/dir/file")
		return expectErr(err, unix.EACCES)
	case "sandbox":
		return makeSandbox()
	case "enter-sandbox":
		return enterSandbox()
	case "in-sandbox":
		return inSandbox()
	case "read":
		return errors.Join(readImage(), expectErr(os.WriteFile("/volume/new", nil, 0o644), unix.EROFS), noRelabel())
	case "write":
		return errors.Join(writeVolume(), noRelabel())
	case "read-only-one-layer":
		return errors.Join(readOwn(), noRelabel())
	case "forbidden":
		_, err := os.ReadFile("/volume/secret")
		return expectErr(err, unix.EACCES)
	}
	return fmt.Errorf("a pod cannot %s", args[0])
}

func expectErr(err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("got %w, want %w", errors.Join(err, errors.New("(that)")), want)
}

func readImage() error {
	entries, err := os.ReadDir("/volume")
	if err != nil {
		return err
	}
	var found int
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "layer-") {
			found++
		}
	}
	if found != imageLayers {
		return fmt.Errorf("%d layers of %d show", found, imageLayers)
	}
	_, err = os.Stat("/volume/gone")
	return errors.Join(expectErr(err, fs.ErrNotExist), readOwn())
}

// readOwn uses what belongs to the pod's user alone.
func readOwn() error {
	own, err := os.ReadFile("/volume/own")
	if err != nil || string(own) != "mine" {
		return fmt.Errorf("reading the user's own file: %q, %w", own, err)
	}
	if _, err := os.ReadDir("/volume/dir"); err != nil {
		return err
	}
	if out, err := exec.Command("/volume/tool", rolePod, "ok").CombinedOutput(); err != nil {
		return fmt.Errorf("running the user's own program: %w: %s", err, out)
	}
	capability := make([]byte, 64)
	if n, err := unix.Getxattr("/volume/capable", "security.capability", capability); err != nil || n != len(fileCapability) {
		return fmt.Errorf("reading file capabilities: %d, %w", n, err)
	}
	info, err := os.Stat("/volume/setuid")
	if err != nil || info.Mode()&os.ModeSetuid == 0 {
		return fmt.Errorf("the set-user-ID bit: %v, %w", info, err)
	}
	return nil
}

// writeVolume changes what the image holds, as root: every change copies a file up with its owner and attributes.
func writeVolume() error {
	var stat unix.Statfs_t
	if err := unix.Statfs("/volume", &stat); err != nil || stat.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("the volume is read-only: %w", err)
	}
	err := errors.Join(
		readImage(),
		os.WriteFile("/volume/new", []byte("new"), 0o644), os.Chown("/volume/new", 2000, 2000),
		unix.Chmod("/volume/new", 0o6755), unix.Setxattr("/volume/new", "security.capability", fileCapability, 0),
		os.WriteFile("/volume/own", []byte("changed"), 0o600), os.Chown("/volume/dir/file", 0, 0),
		os.Chmod("/volume/capable", 0o700), os.Chmod("/volume/setuid", 0o4700),
		os.Chmod("/volume/device", 0o600), unix.Mknod("/volume/fifo", unix.S_IFIFO|0o600, 0),
		os.Remove("/volume/layer-0"), os.RemoveAll("/volume/dir"), os.Mkdir("/volume/dir", 0o755),
	)
	if err != nil {
		return err
	}
	var own unix.Stat_t
	if err := unix.Stat("/volume/own", &own); err != nil || own.Uid != user || own.Mode&0o777 != 0o600 {
		return fmt.Errorf("a changed file belongs to %d with mode %o: %w", own.Uid, own.Mode, err)
	}
	return nil
}

// noRelabel fails where the kubelet would ask the runtime to relabel the volume: where SELinux keeps a label of its
// own for each file. A read-only volume refuses that, and its pod would never start.
func noRelabel() error {
	current, err := os.ReadFile("/proc/self/attr/current")
	if err != nil || !strings.Contains(string(current), ":container_t:") {
		return nil // no SELinux
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(table)) {
		if !strings.Contains(line, " /volume ") {
			continue
		}
		if strings.Contains(line, "seclabel") || !strings.Contains(line, "context=") {
			return fmt.Errorf("the kubelet would have the volume relabelled: %s", line)
		}
		return nil
	}
	return errors.New("the mount table has no volume")
}
