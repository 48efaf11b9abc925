package hostmount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// erofsLayers are two images: the upper one hides the lower one's file "top" and has a root directory of mode 0751.
// They were made of two directories by
//
//	mkfs.erofs -T0 -U 00000000-0000-0000-0000-000000000000 --all-root -Enoinline_data FILE DIRECTORY
func erofsLayers(t *testing.T) []string {
	t.Helper()
	if err := unix.Access("/sys/fs/erofs", unix.F_OK); err != nil {
		t.Skip("this kernel has no erofs")
	}
	return erofsImages(t)
}

// erofsImages are the same, whatever the kernel makes of them.
func erofsImages(t *testing.T) []string {
	t.Helper()
	var layers []string
	for _, name := range []string{"two.erofs", "one.erofs"} {
		layer, err := filepath.Abs(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, layer)
	}
	return layers
}

func TestEROFSLayersAreStackedWithoutALoopDevice(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		layers := erofsLayers(t)
		for _, c := range []struct {
			layers   []string
			top      string
			writable bool
		}{{layers[:1], "2", false}, {layers, "2", false}, {layers, "2", true}, {layers[1:], "1", true}} {
			o := f.overlay(t, c.layers...)
			o.Form = EROFS{}
			if c.writable {
				o = f.writable(t, o)
			}
			if err := f.MountOverlay(deadline(t), o); err != nil {
				t.Fatal(err)
			}
			if err := f.MountOverlay(deadline(t), o); err != nil || len(f.at(t, o.Target)) != 1 {
				t.Errorf("again: %v, %d mounts", err, len(f.at(t, o.Target)))
			}
			if got := readFile(t, filepath.Join(o.Target, "top")); got != c.top {
				t.Errorf("%d layers: top is %q", len(c.layers), got)
			}
			if entries, err := os.ReadDir(o.Target); err != nil || len(entries) != len(c.layers)+1 {
				t.Errorf("%d layers: %v (%v)", len(c.layers), entries, err)
			}
			err := os.WriteFile(filepath.Join(o.Target, "top"), []byte("mine"), 0o644)
			if (c.writable && err != nil) || (!c.writable && !errors.Is(err, unix.EROFS)) {
				t.Errorf("writing: %v", err)
			}
			noLoopDevice(t, "testdata")
			if err := f.Unmount(deadline(t), o.Target); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(f.root, "rw")); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestAsManyEROFSLayersAsTheKernelStacks(t *testing.T) {
	f := newFixture(t)
	images := erofsLayers(t)
	lower, err := os.ReadFile(images[1])
	if err != nil {
		t.Fatal(err)
	}
	layers := images[:1]
	for i := range MaxLayers - 1 {
		layers = append(layers, filepath.Join(f.dir(t, fmt.Sprint("layers/", i)), "layer.erofs"))
		writeFile(t, layers[i+1], string(lower))
	}
	o := f.overlay(t, layers...)
	o.Form = EROFS{}
	before := openFiles(t)
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	if readFile(t, filepath.Join(o.Target, "top")) != "2" || readFile(t, filepath.Join(o.Target, "one")) != "one" {
		t.Error("the layers are out of order")
	}
	if got := openFiles(t); got != before {
		t.Errorf("%d open files, %d before", got, before)
	}
}

// Kernels before 6.15 stack no images that are files, and lack one part of it or another.
func TestAKernelThatStacksNoImageFilesIsToldSo(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		o := f.overlay(t, erofsImages(t)...)
		o.Form = EROFS{}
		before := openFiles(t)
		err := f.MountOverlay(deadline(t), o)
		if err == nil {
			t.Skip("this kernel stacks them")
		}
		t.Log(err)
		if !errors.Is(err, ErrNoEROFS) || (!strings.Contains(err.Error(), "from 6.1") && !strings.Contains(err.Error(), "load the module")) {
			t.Errorf("got %v, want ErrNoEROFS and what the kernel lacks", err)
		}
		if _, err := os.Stat(o.Target); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the target stays: %v", err)
		}
		if got := openFiles(t); got != before {
			t.Errorf("%d open files, %d before", got, before)
		}
	})
}

func TestTheRootOfAnEROFSLayerHasItsAttributes(t *testing.T) {
	f := newFixture(t)
	if got, err := f.Attributes(deadline(t), erofsLayers(t)[0], EROFS{}); err != nil || got != (Attributes{Mode: 0o751}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAFileThatIsNoEROFSImageMountsNothing(t *testing.T) {
	f := newFixture(t)
	good := erofsLayers(t)
	damaged := []byte(readFile(t, good[1]))
	damaged[1024] ^= 1 // the superblock's magic number
	writeFile(t, filepath.Join(f.root, "damaged"), string(damaged))
	writeFile(t, filepath.Join(f.root, "file"), "no image")
	for name, c := range map[string]struct {
		layers []string
		want   error
		bad    bool
	}{
		"not an image": {[]string{good[0], filepath.Join(f.root, "file")}, unix.EINVAL, true},
		"damaged":      {[]string{good[0], filepath.Join(f.root, "damaged")}, unix.EINVAL, true},
		"missing":      {[]string{filepath.Join(f.root, "none"), good[1]}, fs.ErrNotExist, false},
	} {
		before := openFiles(t)
		o := f.overlay(t, c.layers...)
		o.Form = EROFS{}
		if err := f.MountOverlay(deadline(t), o); !errors.Is(err, c.want) || errors.Is(err, ErrBadEROFS) != c.bad {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if _, err := os.Stat(o.Target); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the target stays: %v", name, err)
		}
		if got := openFiles(t); got != before {
			t.Errorf("%s: %d open files, %d before", name, got, before)
		}
	}
}

// noLoopDevice wants none to show a file whose path holds word.
func noLoopDevice(t *testing.T, word string) {
	t.Helper()
	found, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range found {
		if file, err := os.ReadFile(name); err == nil && strings.Contains(string(file), word) {
			t.Errorf("a loop device shows %s", file)
		}
	}
}
