package noderoot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/cgroup"
)

// Spec describes a node's root file system.
type Spec struct {
	Scratch string            // an empty directory to mount on
	Disk    string            // directory that outlives the node's reboot, on a real file system
	Binds   []Bind            // shown in the node
	Files   map[string]string // written into the node
	Cgroups cgroup.Host
}

// Bind shows a file or directory of the machine in the node, read-only.
type Bind struct {
	Source, Target string
}

// persistent are the directories that are kept on the node's disk. An overlay cannot be the upper directory of another
// overlay, so the runtimes' directories have to be on a real file system anyway.
var persistent = []string{"/var/lib/containerd", "/var/lib/containers", "/var/lib/crio", "/var/lib/kubelet", "/var/log"}

// private are the directories that the node does not share with the machine.
var private = []string{"/tmp", "/run", "/root", "/home", "/mnt", "/media", "/srv"}

// replaced are the machine's configurations that are not the node's.
var replaced = []string{"/etc/cni", "/etc/containerd", "/etc/containers", "/etc/crio", "/etc/kubernetes"}

// Enter builds the root file system and makes it the root of the calling process, which is the first of new pid,
// mount, network and cgroup namespaces. What it does is seen in that mount namespace only.
func Enter(s Spec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("detach from the machine's mounts: %w", err)
	}
	root, err := mountOverlay(s.Scratch)
	if err != nil {
		return err
	}
	steps := []func() error{
		func() error { return mountPrivate(root) },
		func() error { return mountDisk(root, s.Disk) },
		func() error { return mountBinds(root, s.Binds) },
		func() error { return mountKernel(root, s.Cgroups) },
		func() error { return makeDevices(filepath.Join(root, "dev")) },
		func() error { return writeFiles(root, s.Files) },
		func() error { return switchTo(root) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// mountOverlay mounts the overlay. Its upper directory is on a tmpfs, where it is not inside its own lower directory
// and is gone after a power cut.
func mountOverlay(scratch string) (string, error) {
	if err := mount("tmpfs", scratch, "tmpfs", "mode=755"); err != nil {
		return "", err
	}
	upper, work, root := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work"), filepath.Join(scratch, "root")
	for _, dir := range []string{upper, work, root} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
	}
	if err := mount("overlay", root, "overlay", "lowerdir=/,upperdir="+upper+",workdir="+work); err != nil {
		return "", fmt.Errorf("%w; a node needs a kernel with overlay, and a machine whose / is not itself an overlay of overlays", err)
	}
	return root, nil
}

func mountPrivate(root string) error {
	for _, dir := range private {
		mode := "mode=755"
		if dir == "/tmp" {
			mode = "mode=1777"
		}
		if err := mount("tmpfs", filepath.Join(root, dir), "tmpfs", mode); err != nil {
			return err
		}
	}
	return nil
}

func mountDisk(root, disk string) error {
	for _, dir := range persistent {
		source := filepath.Join(disk, filepath.Base(dir))
		if err := os.MkdirAll(source, 0o755); err != nil {
			return err
		}
		if err := bind(source, filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	return nil
}

func mountBinds(root string, binds []Bind) error {
	for _, b := range binds {
		target := filepath.Join(root, b.Target)
		if err := bind(b.Source, target); err != nil {
			return err
		}
		if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make %s read-only: %w", b.Target, err)
		}
	}
	return nil
}

func writeFiles(root string, files map[string]string) error {
	for _, dir := range replaced {
		if err := os.RemoveAll(filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	for path, content := range files {
		target := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		// The machine's file may be a link to somewhere else (resolv.conf often is).
		if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(target, []byte(content), 0o600); err != nil {
			return err
		}
		if err := os.Chmod(target, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// switchTo makes root the root of the mount namespace, lets go of the machine's and makes all mounts shared: kubelets
// hand mounts to and from containers by propagation.
func switchTo(root string) error {
	if err := unix.Chdir(root); err != nil {
		return err
	}
	// With the same directory twice the old root comes to lie over the new one, from where it is taken off.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root to %s: %w", root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the machine's root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make the node's mounts shared: %w", err)
	}
	return nil
}

// mount mounts a new file system, making the mount point if need be.
func mount(fsType, target, source, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, fsType, 0, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", fsType, target, err)
	}
	return nil
}

// bind shows source, a file or directory, at target.
func bind(source, target string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(target, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
		err = touch(target)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	return nil
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
