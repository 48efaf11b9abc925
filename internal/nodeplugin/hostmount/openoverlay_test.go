package hostmount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// hidden describes an overlay to be looked at.
func (f *fixture) hidden(t testing.TB, layers ...string) Overlay {
	t.Helper()
	o := f.overlay(t, layers...)
	o.Target = filepath.Join(f.root, "plugins/driver/look")
	f.dir(t, "plugins/driver")
	return o
}

// nothingThere wants no mount and no directory where such an overlay may have a place.
func (f *fixture) nothingThere(t testing.TB, o Overlay) {
	t.Helper()
	if here := f.at(t, o.Target); len(here) != 0 {
		t.Errorf("the mount table shows %+v", here)
	}
	if _, err := os.Lstat(o.Target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory %s is there (%v)", o.Target, err)
	}
}

func TestAnOpenOverlayShowsEveryLayerAndIsNotInTheMountTable(t *testing.T) {
	for _, n := range []int{1, 2, 60, 500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			eachPath(t, func(t *testing.T, f *fixture) {
				o := f.hidden(t, f.layers(t, n)...)
				before := openFiles(t)
				root, err := f.OpenOverlay(deadline(t), o)
				if err != nil {
					t.Fatal(err)
				}
				f.nothingThere(t, o)
				if names, err := root.Readdirnames(-1); err != nil || len(names) != n+1 || !slices.Contains(names, "top") {
					t.Errorf("%d names, want %d (%v)", len(names), n+1, err)
				}
				top := make([]byte, 10)
				fd, err := unix.Openat(int(root.Fd()), "top", unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				if read, err := unix.Read(fd, top); err != nil || string(top[:max(read, 0)]) != fmt.Sprint(n) {
					t.Errorf("layer %q is on top, want %d (%v)", top, n, err)
				}
				closeFD(fd)
				if fd, err := unix.Openat(int(root.Fd()), "new", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600); !errors.Is(err, unix.EROFS) {
					t.Errorf("writing gives %d, %v", fd, err)
				}
				if err := root.Close(); err != nil {
					t.Error(err)
				}
				if after := openFiles(t); after != before {
					t.Errorf("%d files are open, and %d were", after, before)
				}
			})
		})
	}
}

func TestADirectoryOfAnOpenOverlayOutlivesItsRoot(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		layers := f.layers(t, 2)
		writeFile(t, filepath.Join(layers[1], "below/file"), "x")
		root, err := f.OpenOverlay(deadline(t), f.hidden(t, layers...))
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Openat(int(root.Fd()), "below", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err := errors.Join(err, root.Close()); err != nil {
			t.Fatal(err)
		}
		below := os.NewFile(uintptr(fd), "below")
		defer below.Close()
		if names, err := below.Readdirnames(-1); err != nil || !slices.Equal(names, []string{"file"}) {
			t.Errorf("it holds %q (%v)", names, err)
		}
		if err := unix.Fstatat(fd, "file", &unix.Stat_t{}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			t.Error(err)
		}
	})
}

func TestAnOpenOverlayTakesAwayWhatAKilledProcessLeftInItsPlace(t *testing.T) {
	f := newFixture(t)
	f.appendLayers = false // as on a kernel that needs a place
	o := f.hidden(t, f.layers(t, 3)...)
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	root, err := f.OpenOverlay(deadline(t), o)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f.nothingThere(t, o)
}

func TestOverlaysOpenedAtTheSameTimeShowTheirOwnTrees(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		layers := f.layers(t, 8)
		errs := make(chan error)
		for i, layer := range layers {
			o := f.hidden(t, layer)
			want := fmt.Sprintf("layer-%d", len(layers)-i)
			go func() {
				root, err := f.OpenOverlay(deadline(t), o)
				if err == nil {
					names, readErr := root.Readdirnames(-1)
					err = errors.Join(readErr, root.Close())
					if !slices.Contains(names, want) || len(names) != 2 {
						err = errors.Join(err, fmt.Errorf("an overlay shows %q, want %s", names, want))
					}
				}
				errs <- err
			}()
		}
		for range layers {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAnOpenOverlayOfEROFSLayers(t *testing.T) {
	f := newFixture(t)
	o := f.hidden(t, erofsLayers(t)...)
	o.Form = EROFS{}
	root, err := f.OpenOverlay(deadline(t), o)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if names, err := root.Readdirnames(-1); err != nil || !slices.Contains(names, "top") {
		t.Errorf("%q (%v)", names, err)
	}
}

func TestABadOverlayIsNotOpened(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		good := f.hidden(t, f.layers(t, 2)...)
		link := filepath.Join(f.dir(t, "snapshots/9"), "fs")
		if err := os.Symlink("/etc", link); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			change func(*Overlay)
			want   error
		}{
			"outside the root":             {func(o *Overlay) { o.Target = "/etc" }, ErrBadTarget},
			"a layer behind a link":        {func(o *Overlay) { o.Layers = []string{link} }, ErrBadLayer},
			"a layer that is not there":    {func(o *Overlay) { o.Layers = []string{filepath.Join(f.root, "snapshots/none/fs")} }, os.ErrNotExist},
			"more layers than are stacked": {func(o *Overlay) { o.Layers = slices.Repeat(o.Layers, 251) }, ErrTooManyLayers},
		} {
			o := good
			c.change(&o)
			if root, err := f.OpenOverlay(deadline(t), o); !errors.Is(err, c.want) || root != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if root, err := f.OpenOverlay(deadline(t), f.writable(t, good)); err == nil || root != nil {
			t.Errorf("a writable overlay is opened (%v)", err)
		}
		f.nothingThere(t, good)
	})
}
