package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// disk is the root file system's device.
const disk = "/dev/nvme0n1"

// boot is the first process in the initial file system: it loads the modules that it finds there, makes the disk the
// root, puts a SELinux policy in force, and goes on as the host.
func boot() error {
	err := errors.Join(
		mountNew("devtmpfs", "/dev", "devtmpfs"),
		mountNew("proc", "/proc", "proc"),
		mountNew("sysfs", "/sys", "sysfs"),
		loadModules("/modules"),
	)
	if err != nil {
		return err
	}
	if err := switchRoot(); err != nil {
		return err
	}
	if err := startSELinux(); err != nil {
		return err
	}
	return syscall.Exec(program, []string{program, roleHost}, os.Environ())
}

// switchRoot puts the disk in the place of the initial file system, on which pivot_root(2) does not work.
func switchRoot() error {
	if err := os.MkdirAll("/root", 0o755); err != nil {
		return err
	}
	var err error
	for range 200 { // the device is found while we run
		if err = unix.Mount(disk, "/root", "ext4", 0, ""); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("mounting the disk: %w", err)
	}
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if err := unix.Mount(dir, "/root"+dir, "", unix.MS_MOVE, ""); err != nil {
			return err
		}
	}
	return errors.Join(unix.Chdir("/root"), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), unix.Chdir("/"))
}

// loadModules loads what a directory holds, by name.
func loadModules(dir string) error {
	modules, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	for _, module := range modules {
		file, err := os.Open(module)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(file.Fd()), "", 0)
		file.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("loading %s: %w", module, err)
		}
	}
	return nil
}

func mountNew(source, target, kind string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, kind, 0, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", target, err)
	}
	return nil
}
