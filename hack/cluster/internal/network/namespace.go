package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// directory is where the namespaces are mounted. It is not /run/netns: the first `ip netns add` on a machine binds that
// directory, with all mounts in it, on top of itself. Each namespace that was there is then mounted twice, the lower mount
// under the upper directory where no path leads to it, and its file cannot be removed any more (EBUSY).
const directory = "/run/imagecsi-cluster"

func path(name string) string { return filepath.Join(directory, name) }

// Exists reports whether a network namespace has this name. A file of that name without a namespace, as a crash between
// two steps leaves it, does not count.
func Exists(name string) bool {
	var fsType unix.Statfs_t
	err := unix.Statfs(path(name), &fsType)
	return err == nil && fsType.Type == unix.NSFS_MAGIC
}

// Ensure makes the named network namespace, with its loopback up and forwarding on, unless it exists.
func Ensure(name string) error {
	if Exists(name) {
		return nil
	}
	if err := Remove(name); err != nil {
		return err
	}
	err := onLockedThread(func() error {
		if err := create(path(name)); err != nil {
			return err
		}
		// /proc/sys/net shows the network namespace of the thread that looks.
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
			return err
		}
		return setUp("lo")
	})
	if err != nil {
		return fmt.Errorf("make network namespace %s: %w; this needs CAP_SYS_ADMIN and CAP_NET_ADMIN", name, err)
	}
	return nil
}

// create moves the calling thread into a new network namespace and mounts that on a new file.
func create(file string) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("/proc/thread-self/ns/net", file, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount it on %s: %w", file, err)
	}
	return nil
}

// open opens the named network namespace.
func open(name string) (netns.NsHandle, error) { return netns.GetFromPath(path(name)) }

// Remove removes the named network namespace. Its links go once no process is left in it.
func Remove(name string) error {
	if err := unix.Unmount(path(name), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove network namespace %s: %w", name, err)
	}
	if err := os.Remove(path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network namespace %s: %w", name, err)
	}
	return nil
}

// Within runs fn in the named network namespace. Processes that fn starts are in it, sockets that it opens stay in it.
func Within(name string, fn func() error) error {
	return onLockedThread(func() error {
		handle, err := open(name)
		if err != nil {
			return fmt.Errorf("open network namespace %s: %w", name, err)
		}
		defer handle.Close()
		if err := netns.Set(handle); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", name, err)
		}
		return fn()
	})
}

// onLockedThread runs fn on a thread of its own and brings the thread back to the network namespace it came from. If
// that fails the thread is thrown away: the runtime ends a thread whose goroutine ends without unlocking it.
func onLockedThread(fn func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		origin, err := netns.Get()
		if err != nil {
			result <- err
			return
		}
		defer origin.Close()
		err = fn()
		if back := netns.Set(origin); back == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

func setUp(link string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}
