package hostmount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// inMemoryOf describes an overlay of two layers that is written in memory, with a root directory like no other.
func (f *fixture) inMemoryOf(t *testing.T, name string, bytes int64) Overlay {
	t.Helper()
	o := f.overlay(t, f.layers(t, 2)...)
	o.Memory = &Memory{At: f.dir(t, "volumes/"+name+"/memory"), Bytes: bytes, Root: Attributes{UID: 7, GID: 8, Mode: 0o2751}}
	o.Target = filepath.Join(f.root, "pods", name)
	return o
}

func TestAVolumeInMemoryIsFullWhenItsLimitIsReachedAndNothingElseIs(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		o, other := f.inMemoryOf(t, "full", 8*mega), f.inMemoryOf(t, "other", 8*mega)
		writeFile(t, filepath.Join(o.Layers[0], "big"), string(make([]byte, 12*mega)))
		for _, o := range []Overlay{o, other} {
			if err := f.MountOverlay(deadline(t), o); err != nil {
				t.Fatal(err)
			}
		}
		if err := fill(filepath.Join(o.Target, "file"), 16*mega); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("16 MiB into a volume of 8: %v", err)
		}
		if err := unix.Chmod(filepath.Join(o.Target, "big"), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("a copy of a big file into a full volume: %v", err)
		}
		if err := fill(filepath.Join(other.Target, "file"), 6*mega); err != nil {
			t.Errorf("beside a full volume: %v", err)
		}
		stat, err := f.Stat(deadline(t), o.Target)
		if err != nil || stat.Bytes.Total != 8*mega || stat.Bytes.Used < 7*mega || stat.Bytes.Available > mega || stat.Inodes.Total != inodesFor(8*mega) {
			t.Errorf("df in the pod shows %+v (%v)", stat, err)
		}
		if want := filepath.Join(o.Memory.At, "upper"); stat.Mount.Upper != want || stat.Mount.ReadOnly {
			t.Errorf("the mount table shows %+v, want the upper directory %s", stat.Mount, want)
		}
		if err := errors.Join(os.Remove(filepath.Join(o.Target, "file")), fill(filepath.Join(o.Target, "again"), 4*mega)); err != nil {
			t.Errorf("after making room: %v", err)
		}
	})
}

func TestEmptyFilesInMemoryAreLimitedToo(t *testing.T) {
	f := newFixture(t)
	o := f.inMemoryOf(t, "many", mega)
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	var err error
	for i := 0; err == nil && i < 3000; i++ {
		err = fill(filepath.Join(o.Target, fmt.Sprint(i)), 0)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("3000 empty files in a volume of 1 MiB: %v", err)
	}
}

func TestAVolumeInMemoryHasItsOwnersRootAndGoesWithItsMount(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		o := f.inMemoryOf(t, "gone", mega)
		for range 2 { // the second one is the same mount
			if err := f.MountOverlay(deadline(t), o); err != nil {
				t.Fatal(err)
			}
		}
		var stat unix.Stat_t
		if err := unix.Stat(o.Target, &stat); err != nil || stat.Uid != 7 || stat.Gid != 8 || stat.Mode&0o7777 != 0o2751 {
			t.Errorf("the root directory is %d:%d %o (%v)", stat.Uid, stat.Gid, stat.Mode&0o7777, err)
		}
		writeFile(t, filepath.Join(o.Target, "top"), "changed")
		f.expectNoMemory(t, o)

		if err := f.Unmount(deadline(t), o.Target); err != nil {
			t.Fatal(err)
		}
		f.expectNoMemory(t, o)
		if err := f.MountOverlay(deadline(t), o); err != nil {
			t.Fatal(err)
		}
		if top := readFile(t, filepath.Join(o.Target, "top")); top != "2" {
			t.Errorf("after it was mounted again it holds %q, want the image's", top)
		}
	})
}

// What a process left that was killed while it made the overlay.
func TestMemoryThatIsLeftIsTakenAwayFirst(t *testing.T) {
	f := newFixture(t)
	o := f.inMemoryOf(t, "left", mega)
	inNamespace(t, f, func() error { return unix.Mount("imagecsi-memory", o.Memory.At, "tmpfs", 0, "size=4k") })
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	if stat, err := f.Stat(deadline(t), o.Target); err != nil || stat.Bytes.Total != mega {
		t.Errorf("the volume holds %d bytes, want %d (%v)", stat.Bytes.Total, mega, err)
	}
	f.expectNoMemory(t, o)
}

func TestAFailedMountInMemoryLeavesNothing(t *testing.T) {
	f := newFixture(t)
	o := f.inMemoryOf(t, "failed", mega)
	o.Layers = append(o.Layers, filepath.Join(f.root, "snapshots/no-such/fs"))
	if err := f.MountOverlay(deadline(t), o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("with a layer that is missing: %v", err)
	}
	f.expectNoMemory(t, o)
	if _, err := os.Stat(o.Target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the target is left: %v", err)
	}
}

func TestMemoryBesideOtherWaysToWriteIsRefused(t *testing.T) {
	f := newFixture(t)
	both := f.writable(t, f.inMemoryOf(t, "both", mega))
	unlimited, outside := f.inMemoryOf(t, "unlimited", 0), f.inMemoryOf(t, "outside", mega)
	outside.Memory.At = t.TempDir()
	for name, o := range map[string]Overlay{"both": both, "unlimited": unlimited, "outside the root": outside} {
		if err := f.MountOverlay(deadline(t), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// expectNoMemory wants nothing mounted where the memory had its place.
func (f *fixture) expectNoMemory(t *testing.T, o Overlay) {
	t.Helper()
	if here := f.at(t, o.Memory.At); len(here) != 0 {
		t.Errorf("mounted at %s: %+v", o.Memory.At, here)
	}
}
