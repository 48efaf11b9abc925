package hostmount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStatTellsTheMountAndItsCapacity(t *testing.T) {
	f := newFixture(t)
	o := f.overlay(t, f.layers(t, 2)...)
	if _, err := f.Stat(deadline(t), o.Target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no directory: %v", err)
	}
	if err := os.MkdirAll(o.Target, 0o755); err != nil {
		t.Fatal(err)
	}
	if stat, err := f.Stat(deadline(t), o.Target); err != nil || stat.Mount != nil {
		t.Errorf("of a plain directory: %+v, %v", stat, err)
	}
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	stat, err := f.Stat(deadline(t), o.Target)
	if err != nil || stat.Mount == nil || stat.Mount.Source != o.Source || stat.Mount.Target != o.Target || stat.Gone {
		t.Fatalf("of an overlay: %+v, %v", stat, err)
	}
	var want unix.Statfs_t
	if err := unix.Statfs(o.Layers[0], &want); err != nil {
		t.Fatal(err)
	}
	if stat.Bytes.Total != int64(want.Blocks)*want.Frsize || stat.Bytes.Used <= 0 || stat.Bytes.Available <= 0 ||
		stat.Inodes.Total != int64(want.Files) || stat.Inodes.Used <= 0 || stat.Inodes.Available <= 0 {
		t.Errorf("capacity %+v and %+v, the file system's is %+v", stat.Bytes, stat.Inodes, want)
	}
	if _, err := f.Stat(deadline(t), "/"); !errors.Is(err, ErrBadTarget) {
		t.Errorf("outside the root: %v", err)
	}
}

func TestAMountChangesTheDirectoryAboveItsTargetOnce(t *testing.T) {
	f := newFixture(t)
	o := f.overlay(t, f.layers(t, 2)...)
	above := filepath.Dir(o.Target)
	if err := os.MkdirAll(above, 0o755); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(above, long, long); err != nil {
		t.Fatal(err)
	}
	if changed, err := f.Changed(deadline(t), above); err != nil || !changed.Equal(long) {
		t.Errorf("before: %s, %v, want %s", changed, err, long)
	}
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	first, err := f.Changed(deadline(t), above)
	if err != nil || time.Since(first) > time.Minute {
		t.Errorf("after the mount: %s, %v", first, err)
	}
	if err := f.MountOverlay(deadline(t), o); err != nil { // as after a restart
		t.Fatal(err)
	}
	if again, err := f.Changed(deadline(t), above); err != nil || !again.Equal(first) {
		t.Errorf("after the same mount: %s, %v, want %s", again, err, first)
	}
	if _, err := f.Changed(deadline(t), "/"); !errors.Is(err, ErrBadTarget) {
		t.Errorf("outside the root: %v", err)
	}
}

func TestStatTellsThatALayerIsGone(t *testing.T) {
	for _, writable := range []bool{false, true} {
		for i := range 3 {
			f := newFixture(t)
			o := f.overlay(t, f.layers(t, 3)...)
			if writable {
				o = f.writable(t, o)
			}
			if err := f.MountOverlay(deadline(t), o); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(o.Layers[i]); err != nil {
				t.Fatal(err)
			}
			if stat, err := f.Stat(deadline(t), o.Target); err != nil || !stat.Gone {
				t.Errorf("writable %v, layer %d: %+v, %v", writable, i, stat, err)
			}
		}
	}
}

func TestVolumesThatHangKeepNoOthersFromBeingMounted(t *testing.T) {
	f := newFixture(t)
	hung := f.dir(t, "pods/uid/volumes/kubernetes.io~csi/hung/mount")
	end := hang(t, f, hung)
	var looks sync.WaitGroup
	for range 2 * f.config.Threads {
		looks.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			if _, err := f.Stat(ctx, hung); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "does not answer") {
				t.Errorf("of a volume that hangs: %v", err)
			}
		})
	}
	time.Sleep(100 * time.Millisecond) // all of them hang, or have given up
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	o := f.overlay(t, f.layers(t, 2)...)
	if err := f.MountOverlay(ctx, o); err != nil {
		t.Error(err)
	}
	// A limited volume is published again by a look at its own directory.
	if _, _, _, err := f.Limited(ctx, f.dir(t, "rw/work")); err != nil {
		t.Errorf("of another volume: %v", err)
	}
	end()
	looks.Wait()
	if stat, err := f.Stat(deadline(t), o.Target); err != nil || stat.Mount == nil {
		t.Errorf("after that: %+v, %v", stat, err)
	}
}

// hang mounts a file system whose answers are awaited in vain until end is called.
func hang(t *testing.T, f *fixture, target string) (end func()) {
	t.Helper()
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("this kernel has no FUSE: ", err)
	}
	end = sync.OnceFunc(func() { closeFD(device) })
	t.Cleanup(end)
	inNamespace(t, f, func() error {
		return unix.Mount("hung", target, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device))
	})
	return end
}

func TestAnEmptyDirectoryIsNotGone(t *testing.T) {
	f := newFixture(t)
	o := f.writable(t, f.overlay(t, f.layers(t, 1)...))
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"top", "layer-1"} {
		if err := os.Remove(filepath.Join(o.Target, name)); err != nil {
			t.Fatal(err)
		}
	}
	if stat, err := f.Stat(deadline(t), o.Target); err != nil || stat.Gone {
		t.Errorf("%+v, %v", stat, err)
	}
}

func TestAttributesAreThoseOfTheDirectory(t *testing.T) {
	f := newFixture(t)
	dir := f.dir(t, "owned")
	if err := errors.Join(unix.Chown(dir, 1000, 2000), unix.Chmod(dir, 0o3751)); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Attributes(deadline(t), dir, Directories{}); err != nil || got != (Attributes{UID: 1000, GID: 2000, Mode: 0o3751}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := f.Attributes(deadline(t), dir+"/none", Directories{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no directory: %v", err)
	}
}
