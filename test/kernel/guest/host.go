package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Directories of the node.
const (
	kubeletRoot = "/var/lib/kubelet"
	snapshots   = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
	rootfs      = "/srv/rootfs" // of the containers
)

// host is the node: it does what a node's system has done when pods come, runs every cell and switches the machine off.
func host() {
	defer switchOff()
	if err := prepareNode(); err != nil {
		say("FAILED to prepare the node: %v", err)
		return
	}
	for _, c := range cellsOf(securityModule()) {
		c.run()
	}
	say("end")
}

// securityModule is the one that the machine was booted with: "none", "apparmor" or "selinux". The kernel hands what
// it does not know of its command line to the first process.
func securityModule() string { return os.Getenv("IMAGECSI_SECURITY") }

func prepareNode() error {
	err := errors.Join(
		mountNew("tmpfs", "/run", "tmpfs"),
		mountNew("tmpfs", "/tmp", "tmpfs"),
		mountNew("cgroup2", "/sys/fs/cgroup", "cgroup2"),
		os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""), // as systemd does
		os.MkdirAll(kubeletRoot+"/plugins/"+driver, 0o750),
		os.MkdirAll(overMounted, 0o755), os.MkdirAll(filepath.Dir(token), 0o755), os.WriteFile(token, []byte("x"), 0o600),
	)
	if err != nil {
		return err
	}
	if err := makeImage(); err != nil {
		return fmt.Errorf("making an image: %w", err)
	}
	switch securityModule() {
	case "apparmor":
		return startAppArmor()
	case "selinux":
		return enforceSELinux()
	}
	return nil
}

// say prints a line that the machine's owner reads.
func say(format string, args ...any) {
	fmt.Printf("imagecsi: "+strings.ReplaceAll(format, "\n", " ")+"\n", args...)
}

func switchOff() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}
