package bench

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// bare is an overlay that is mounted by as few system calls as the kernel needs for it, made on the thread that wants
// it and in the node's mount namespace: a directory to mount on, a file system with its layers, a mount with the
// attributes that the node plugin gives, and its place. Layers are named relative to their parent, which is fastest.
// Nothing is checked but errors.
type bare struct {
	parent string   // of all layers
	layers []string // relative to it, topmost first
	target string
}

// newBare takes layers that all lie beneath one directory, at "<number>/fs" as containerd has them.
func newBare(layers []string, target string) bare {
	bare := bare{parent: filepath.Dir(filepath.Dir(layers[0])), target: target}
	for _, layer := range layers {
		bare.layers = append(bare.layers, layer[len(bare.parent)+1:])
	}
	return bare
}

func (m bare) mount() error {
	if err := unix.Mkdir(m.target, 0o750); err != nil {
		return fmt.Errorf("mkdir: %w", err)
	}
	if err := unix.Chdir(m.parent); err != nil {
		return fmt.Errorf("chdir: %w", err)
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "source", "bench"); err != nil {
		return fmt.Errorf("fsconfig source: %w", err)
	}
	for _, layer := range m.layers {
		if err := unix.FsconfigSetString(fs, "lowerdir+", layer); err != nil {
			return fmt.Errorf("fsconfig lowerdir+=%s: %w", layer, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("fsconfig create: %w", err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return fmt.Errorf("fsmount: %w", err)
	}
	defer unix.Close(mount)
	return unix.MoveMount(mount, "", unix.AT_FDCWD, m.target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func (m bare) unmount() error {
	if err := unix.Unmount(m.target, unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("umount2: %w", err)
	}
	return unix.Rmdir(m.target)
}

// thread runs functions on a thread in the node's mount namespace.
type thread chan func()

// onNode starts a thread that ends with the benchmark.
func onNode(b *testing.B, target *nodes.Target) thread {
	b.Helper()
	t, entered := make(thread), make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread goes with the goroutine
		entered <- enter(target)
		for f := range t {
			f()
		}
	}()
	must(b, <-entered)
	b.Cleanup(func() { close(t) })
	return t
}

// run runs f on the thread.
func (t thread) run(f func() error) error {
	ended := make(chan error)
	t <- func() { ended <- f() }
	return <-ended
}

func enter(target *nodes.Target) error {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", target.Node.PID()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(fd, unix.CLONE_NEWNS))
}

// pair mounts and unmounts once and notes how long each took on the thread.
func (m bare) pair(t thread, mounts, unmounts *samples) error {
	return t.run(func() error {
		if err := mounts.time(m.mount); err != nil {
			return err
		}
		return unmounts.time(m.unmount)
	})
}

// together runs f for every caller at the same time, each in a goroutine of its own, and returns how long all took.
// The clock starts when ready has returned in each of them.
func together(b *testing.B, callers int, ready func() error, f func(caller int) error) time.Duration {
	b.Helper()
	var prepared, done sync.WaitGroup
	start, failed := make(chan struct{}), make(chan error, callers)
	prepared.Add(callers)
	for caller := range callers {
		done.Go(func() {
			err := ready()
			prepared.Done()
			<-start
			if err == nil {
				err = f(caller)
			}
			failed <- err
		})
	}
	prepared.Wait()
	started := time.Now()
	close(start)
	done.Wait()
	took := time.Since(started)
	for range callers {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
	return took
}

// onThreads is together on threads in the node's mount namespace, which end with it.
func onThreads(b *testing.B, target *nodes.Target, callers int, f func(caller int) error) time.Duration {
	b.Helper()
	return together(b, callers, func() error {
		runtime.LockOSThread()
		return enter(target)
	}, f)
}
