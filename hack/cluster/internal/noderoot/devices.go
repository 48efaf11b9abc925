package noderoot

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// device is a character device of a node, by its numbers.
type device struct {
	name         string
	mode         uint32
	major, minor uint32
}

var devices = []device{
	{"null", 0o666, 1, 3},
	{"zero", 0o666, 1, 5},
	{"full", 0o666, 1, 7},
	{"random", 0o666, 1, 8},
	{"urandom", 0o666, 1, 9},
	{"kmsg", 0o644, 1, 11},
	{"tty", 0o666, 5, 0},
	{"fuse", 0o600, 10, 229},
}

var deviceLinks = map[string]string{
	"ptmx":   "pts/ptmx",
	"fd":     "/proc/self/fd",
	"stdin":  "/proc/self/fd/0",
	"stdout": "/proc/self/fd/1",
	"stderr": "/proc/self/fd/2",
}

// makeDevices fills a /dev of the node's own: privileged containers get what is in it, and the machine's disks are
// not their business.
func makeDevices(dev string) error {
	if err := mount("tmpfs", dev, "tmpfs", "mode=755"); err != nil {
		return err
	}
	for _, d := range devices {
		path := filepath.Join(dev, d.name)
		if err := unix.Mknod(path, unix.S_IFCHR|d.mode, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("make device %s: %w", d.name, err)
		}
		if err := os.Chmod(path, os.FileMode(d.mode)); err != nil { // mknod heeds the umask
			return err
		}
	}
	for name, target := range deviceLinks {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	if err := mount("devpts", filepath.Join(dev, "pts"), "devpts", "newinstance,ptmxmode=0666,mode=620"); err != nil {
		return err
	}
	if err := mount("tmpfs", filepath.Join(dev, "shm"), "tmpfs", "mode=1777"); err != nil {
		return err
	}
	return mount("mqueue", filepath.Join(dev, "mqueue"), "mqueue", "")
}
