package hostmount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOverlayShowsEveryLayer(t *testing.T) {
	for _, n := range []int{1, 2, 10, 60, 127, 400, 500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			eachPath(t, func(t *testing.T, f *fixture) {
				o := f.overlay(t, f.layers(t, n)...)
				if err := f.MountOverlay(deadline(t), o); err != nil {
					t.Fatal(err)
				}
				entries, err := os.ReadDir(o.Target)
				if err != nil || len(entries) != n+1 {
					t.Fatalf("%d entries, want %d (%v)", len(entries), n+1, err)
				}
				if top := readFile(t, filepath.Join(o.Target, "top")); top != fmt.Sprint(n) {
					t.Errorf("layer %s is on top, want %d", top, n)
				}
				want := int64(unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NODEV)
				if flags := mountFlags(t, o.Target); flags&want != want {
					t.Errorf("mount flags %#x lack some of %#x", flags, want)
				}
				here := f.at(t, o.Target)
				if len(here) != 1 || here[0].Source != o.Source || here[0].FSType != "overlay" || !here[0].ReadOnly {
					t.Errorf("the mount table shows %+v", here)
				}
			})
		})
	}
}

func TestMoreLayersThanTheKernelStacksAreRefused(t *testing.T) {
	f := newFixture(t)
	o := f.overlay(t, f.layers(t, 501)...)
	if err := f.MountOverlay(deadline(t), o); !errors.Is(err, ErrTooManyLayers) {
		t.Errorf("got %v", err)
	}
}

func TestLongLayerNamesReachTheSameLimit(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		var layers []string
		for i := range 150 {
			layers = append(layers, f.dir(t, fmt.Sprintf("overlay/%064d/diff", i)))
			writeFile(t, filepath.Join(layers[i], fmt.Sprint(i)), "")
		}
		o := f.overlay(t, layers...)
		if err := f.MountOverlay(deadline(t), o); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(o.Target); err != nil || len(entries) != 150 {
			t.Errorf("%d entries (%v)", len(entries), err)
		}
	})
}

func TestLayersInDifferentPlaces(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		long := f.dir(t, strings.Repeat("d", 200)+"/"+strings.Repeat("e", 200)+"/fs")
		writeFile(t, filepath.Join(long, "far"), "x")
		o := f.overlay(t, append(f.layers(t, 2), long)...)
		if err := f.MountOverlay(deadline(t), o); err != nil {
			t.Fatal(err)
		}
		readFile(t, filepath.Join(o.Target, "far"))
	})
}

func TestWritableOverlayKeepsTheLayers(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			eachPath(t, func(t *testing.T, f *fixture) {
				layers := f.layers(t, n)
				o := f.writable(t, f.overlay(t, layers...))
				if err := f.MountOverlay(deadline(t), o); err != nil {
					t.Fatal(err)
				}
				writeFile(t, filepath.Join(o.Target, "new"), "n")
				writeFile(t, filepath.Join(o.Target, "top"), "changed")
				if err := os.Remove(filepath.Join(o.Target, "layer-1")); err != nil {
					t.Fatal(err)
				}
				if readFile(t, filepath.Join(layers[0], "top")) != fmt.Sprint(n) {
					t.Error("a layer was changed")
				}
				readFile(t, filepath.Join(layers[n-1], "layer-1"))

				// What was written is there after the volume is mounted again.
				if err := f.Unmount(deadline(t), o.Target); err != nil {
					t.Fatal(err)
				}
				if err := f.MountOverlay(deadline(t), o); err != nil {
					t.Fatal(err)
				}
				if readFile(t, filepath.Join(o.Target, "new")) != "n" {
					t.Error("a new file is gone")
				}
				if _, err := os.Stat(filepath.Join(o.Target, "layer-1")); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("a removed file is back: %v", err)
				}
			})
		})
	}
}

func TestWhiteoutsOfLayersHide(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		layers := f.layers(t, 2)
		if err := unix.Mknod(filepath.Join(layers[0], "layer-1"), unix.S_IFCHR, 0); err != nil {
			t.Fatal(err)
		}
		o := f.overlay(t, layers...)
		if err := f.MountOverlay(deadline(t), o); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(o.Target, "layer-1")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the whiteout does not hide: %v", err)
		}
	})
}

func TestSpecialCharactersInNames(t *testing.T) {
	for _, name := range []string{"a:b", "a,b", `a\b`, `a\:b`, "a b", "a\nb", "a#b", `a"b`, "lowerdir=x,upperdir=y", `end\`} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			eachPath(t, func(t *testing.T, f *fixture) {
				top := f.dir(t, "snapshots/"+name)
				writeFile(t, filepath.Join(top, "special"), "x")
				o := f.overlay(t, append([]string{top}, f.layers(t, 1)...)...)
				o.Target = filepath.Join(f.root, "pods", name, "mount")
				o.Upper, o.Work = f.dir(t, name+"/upper"), f.dir(t, name+"/work")
				if err := f.MountOverlay(deadline(t), o); err != nil {
					t.Fatal(err)
				}
				readFile(t, filepath.Join(o.Target, "special"))
				writeFile(t, filepath.Join(o.Target, "written"), "x")
				readFile(t, filepath.Join(o.Upper, "written"))
				if len(f.at(t, o.Target)) != 1 {
					t.Error("the mount table does not show the target")
				}
				if err := f.Unmount(deadline(t), o.Target); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestTheImagesRootDirectoryGivesTheMountItsMode(t *testing.T) {
	f := newFixture(t)
	layers := f.layers(t, 1)
	if err := os.Chmod(layers[0], 0o751); err != nil {
		t.Fatal(err)
	}
	o := f.overlay(t, layers...)
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(o.Target); err != nil || info.Mode().Perm() != 0o751 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
}

func TestMountingTwiceMountsOnce(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		o := f.overlay(t, f.layers(t, 2)...)
		for range 2 {
			if err := f.MountOverlay(deadline(t), o); err != nil {
				t.Fatal(err)
			}
		}
		if here := f.at(t, o.Target); len(here) != 1 {
			t.Errorf("%d mounts", len(here))
		}
	})
}

func TestAnotherMountAtTheTargetIsNamed(t *testing.T) {
	f := newFixture(t)
	o := f.overlay(t, f.layers(t, 2)...)
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	other := o
	other.Source = "imagecsi:other"
	err := f.MountOverlay(deadline(t), other)
	if !errors.Is(err, ErrOccupied) || !strings.Contains(err.Error(), o.Source) {
		t.Errorf("other source: %v", err)
	}
	if err := f.MountOverlay(deadline(t), f.writable(t, o)); !errors.Is(err, ErrOccupied) {
		t.Errorf("other writability: %v", err)
	}
}

func TestAFailedMountLeavesNothing(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		o := f.overlay(t, filepath.Join(f.root, "snapshots/1/fs"), filepath.Join(f.root, "snapshots/2/fs"))
		f.dir(t, "snapshots")
		err := f.MountOverlay(deadline(t), o)
		if !errors.Is(err, unix.ENOENT) {
			t.Fatalf("missing layers: %v", err)
		}
		if _, err := os.Stat(o.Target); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the target directory stays: %v", err)
		}
	})
}

func TestTheKernelsOwnWordsReachTheError(t *testing.T) {
	f := newFixture(t)
	if !f.appendLayers {
		t.Skip("this kernel has no lowerdir+")
	}
	layers := f.layers(t, 501)
	o := f.overlay(t, layers...)
	err := f.do(deadline(t), func() error {
		_, err := detachedOverlay(o, f.options(o))
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "the kernel says: ") || !strings.Contains(err.Error(), "500") {
		t.Errorf("got %v", err)
	}
}

// The kernel mounts an overlay read-only, and reports success, when it may not write to the work directory.
func TestAWritableOverlayThatComesUpReadOnlyFails(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		if !hasCapability(unix.CAP_LINUX_IMMUTABLE) {
			t.Skip("making a directory immutable needs CAP_LINUX_IMMUTABLE")
		}
		o := f.writable(t, f.overlay(t, f.layers(t, 2)...))
		setImmutable(t, o.Work, true)
		t.Cleanup(func() { setImmutable(t, o.Work, false) })
		if err := f.MountOverlay(deadline(t), o); !errors.Is(err, ErrReadOnly) {
			t.Errorf("got %v", err)
		}
		if here := f.at(t, o.Target); len(here) != 0 {
			t.Errorf("mounts stay: %+v", here)
		}
	})
}

func setImmutable(t *testing.T, dir string, on bool) {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	flags := 0
	if on {
		flags = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
	}
	if err := unix.IoctlSetPointerInt(int(d.Fd()), unix.FS_IOC_SETFLAGS, flags); err != nil {
		t.Fatalf("changing the immutable flag of %s: %v", dir, err)
	}
}

// The mount option noatime holds in a pod, where a container runtime mounts the volume again without it.
func TestAReadOnlyOverlayRecordsNoAccessTimes(t *testing.T) {
	for _, writable := range []bool{false, true} { // a writable one does, of what was written
		f := newFixture(t)
		o, old := f.overlay(t, f.layers(t, 2)...), time.Unix(1_000_000_000, 0)
		read := filepath.Join(o.Layers[0], "top")
		if writable {
			o = f.writable(t, o)
			read = filepath.Join(o.Upper, "top")
			writeFile(t, read, "mine")
		}
		if err := errors.Join(os.Chtimes(read, old, time.Now()), f.MountOverlay(deadline(t), o)); err != nil {
			t.Fatal(err)
		}
		anew := f.dir(t, "anew")
		f.bind(t, o.Target, anew, 0)
		t.Cleanup(func() { inNamespace(t, f, func() error { return unix.Unmount(anew, unix.MNT_DETACH) }) })
		inNamespace(t, f, func() error {
			return unix.Mount("", anew, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_STRICTATIME, "")
		})
		readFile(t, filepath.Join(anew, "top"))
		var stat unix.Stat_t
		if err := unix.Stat(filepath.Join(anew, "top"), &stat); err != nil || (stat.Atim.Sec != old.Unix()) != writable {
			t.Errorf("writable %v: the time of access is %v (%v)", writable, time.Unix(stat.Atim.Unix()), err)
		}
	}
}
