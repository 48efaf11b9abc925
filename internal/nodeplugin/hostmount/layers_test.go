package hostmount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestALayerBehindALinkIsRefusedAndNothingIsMounted(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		whole := f.layers(t, 3)
		secret := f.dir(t, "secret/fs")
		file := filepath.Join(f.dir(t, "odd/1"), "fs")
		writeFile(t, file, "")
		link := filepath.Join(f.dir(t, "links/1"), "fs")
		linked := filepath.Join(filepath.Dir(filepath.Dir(link)), "2")
		if err := errors.Join(os.Symlink(secret, link), os.Symlink(filepath.Dir(secret), linked)); err != nil {
			t.Fatal(err)
		}
		for name, layer := range map[string]string{"its directory": link, "the one above": filepath.Join(linked, "fs"), "a file": file} {
			t.Run(name, func(t *testing.T) {
				o := f.overlay(t, whole[0], layer, whole[1])
				for range 2 {
					if err := f.MountOverlay(deadline(t), o); !errors.Is(err, ErrBadLayer) {
						t.Errorf("got %v", err)
					}
				}
				if _, err := os.Lstat(o.Target); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the target is there (%v)", err)
				}
			})
		}
		if err := f.MountOverlay(deadline(t), f.overlay(t, whole...)); err != nil {
			t.Errorf("layers that are directories: %v", err)
		}
	})
}

// The administrator may have put the runtime's directory elsewhere.
func TestTheDirectoryOfTheLayersMayBeALink(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		layers := f.layers(t, 2)
		above := filepath.Dir(filepath.Dir(layers[0]))
		link := filepath.Join(f.dir(t, "elsewhere"), "runtime")
		if err := os.Symlink(above, link); err != nil {
			t.Fatal(err)
		}
		for i, layer := range layers {
			rel, err := filepath.Rel(above, layer)
			if err != nil {
				t.Fatal(err)
			}
			layers[i] = filepath.Join(link, rel)
		}
		if err := f.MountOverlay(deadline(t), f.overlay(t, layers...)); err != nil {
			t.Error(err)
		}
	})
}

func TestAStackOfLayersIsLookedAtOnceAndTheMemoryOfItIsBounded(t *testing.T) {
	var p plainLayers
	layer := filepath.Join(t.TempDir(), "layer")
	if err := os.Mkdir(layer, 0o755); err != nil {
		t.Fatal(err)
	}
	for n := range maxPlain + 2 {
		another := filepath.Dir(layer) + strings.Repeat("/", n+1) + "layer"
		if err := p.check(Directories{}, []string{another}); err != nil {
			t.Fatal(err)
		}
		if len(p.stacks) > maxPlain {
			t.Fatalf("%d stacks are remembered", len(p.stacks))
		}
	}
	if err := errors.Join(p.check(Directories{}, []string{layer}), os.Remove(layer), p.check(Directories{}, []string{layer})); err != nil {
		t.Errorf("looked at again: %v", err)
	}
	if err := p.check(EROFS{}, []string{layer}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("images of the same names are others: %v", err)
	}
}

// BenchmarkLayersByNameAndByDescriptor shows why the kernel is given the layers' names (decision 0005).
func BenchmarkLayersByNameAndByDescriptor(b *testing.B) {
	for _, n := range []int{3, 10, 400} {
		for name, set := range map[string]func(fs, dir int, layer string) error{"name": setByName, "descriptor": setByDescriptor} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				f := newFixture(b)
				var layers []string
				for i := range n {
					layers = append(layers, f.dir(b, fmt.Sprintf("var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/%d/fs", i)))
				}
				for range b.N {
					if err := f.do(deadline(b), func() error { return mountBare(b, layers, f.root, set) }); err != nil {
						b.Skip(err)
					}
				}
			})
		}
	}
}

func setByName(fs, _ int, layer string) error { return unix.FsconfigSetString(fs, "lowerdir+", layer) }

func setByDescriptor(fs, dir int, layer string) error {
	fd, err := openPlain(dir, layer)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	return unix.FsconfigSetFd(fs, "lowerdir+", fd)
}

// mountBare mounts an overlay, reports the length of its line in the mount table, and unmounts it.
func mountBare(b *testing.B, layers []string, target string, set func(fs, dir int, layer string) error) error {
	base := commonParent(layers)
	dir, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer closeFD(dir)
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer closeFD(fs)
	if err := unix.Chdir(base); err != nil {
		return err
	}
	for _, layer := range layers {
		if err := set(fs, dir, relativeTo(base, layer)); err != nil {
			return err
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return err
	}
	err = unix.MoveMount(mount, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
	closeFD(mount)
	if err != nil {
		return err
	}
	b.StopTimer()
	defer b.StartTimer()
	table, err := os.ReadFile("/proc/thread-self/mountinfo")
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, " "+target+" ") {
			b.ReportMetric(float64(len(line)), "B/line")
		}
	}
	return errors.Join(err, unix.Unmount(target, unix.MNT_DETACH))
}
