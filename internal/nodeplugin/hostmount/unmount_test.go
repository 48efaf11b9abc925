package hostmount

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestUnmountTakesStackedMountsAndTheDirectory(t *testing.T) {
	f := newFixture(t)
	o := f.overlay(t, f.layers(t, 2)...)
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	inNamespace(t, f, func() error { return unix.Mount("tmpfs", o.Target, "tmpfs", 0, "") })
	if here := f.at(t, o.Target); len(here) != 2 {
		t.Fatalf("%d mounts, want two stacked", len(here))
	}
	if err := f.Unmount(deadline(t), o.Target); err != nil {
		t.Fatal(err)
	}
	if here := f.at(t, o.Target); len(here) != 0 {
		t.Errorf("still mounted: %+v", here)
	}
	if _, err := os.Lstat(o.Target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory stays: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(o.Target)); err != nil {
		t.Errorf("the parent is gone: %v", err)
	}
}

func TestUnmountOfNothingIsSuccess(t *testing.T) {
	f := newFixture(t)
	for _, target := range []string{
		filepath.Join(f.root, "pods/none/mount"),
		f.dir(t, "pods/empty/mount"),
		filepath.Join(f.root, "none"),
	} {
		for range 2 {
			if err := f.Unmount(deadline(t), target); err != nil {
				t.Errorf("%s: %v", target, err)
			}
		}
	}
}

func TestUnmountKeepsDataInAPlainDirectory(t *testing.T) {
	f := newFixture(t)
	target := f.dir(t, "pods/data/mount")
	writeFile(t, filepath.Join(target, "file"), "x")
	if err := f.Unmount(deadline(t), target); !errors.Is(err, unix.ENOTEMPTY) {
		t.Errorf("got %v", err)
	}
	readFile(t, filepath.Join(target, "file"))
}

func TestABusyMountStaysAndSaysSo(t *testing.T) {
	f := newFixture(t)
	o := f.overlay(t, f.layers(t, 2)...)
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	file := openInNamespace(t, f, filepath.Join(o.Target, "top"))
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := f.Unmount(ctx, o.Target); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
	if len(f.at(t, o.Target)) != 1 {
		t.Error("the mount is gone")
	}

	// The retries see the file closed.
	time.AfterFunc(300*time.Millisecond, func() { closeFD(file) })
	if err := f.Unmount(deadline(t), o.Target); err != nil {
		t.Errorf("after the file was closed: %v", err)
	}
}

func openInNamespace(t testing.TB, f *fixture, path string) (fd int) {
	t.Helper()
	inNamespace(t, f, func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	return fd
}

func TestNoDescriptorIsLeft(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		o := f.writable(t, f.overlay(t, f.layers(t, 3)...))
		cycle := func() {
			if err := errors.Join(f.MountOverlay(deadline(t), o), f.MountOverlay(deadline(t), o),
				f.Unmount(deadline(t), o.Target)); err != nil {
				t.Fatal(err)
			}
		}
		cycle()
		before := openFiles(t)
		for range 20 {
			cycle()
		}
		if after := openFiles(t); after > before {
			t.Errorf("%d open files, %d before", after, before)
		}
	})
}

func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
