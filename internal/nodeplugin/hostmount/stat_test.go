package hostmount

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

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
	if got, err := f.Attributes(deadline(t), dir, Directories); err != nil || got != (Attributes{UID: 1000, GID: 2000, Mode: 0o3751}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := f.Attributes(deadline(t), dir+"/none", Directories); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no directory: %v", err)
	}
}
