package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nest makes directories in one another, and a file in the last.
func nest(t *testing.T, top string, levels int) {
	t.Helper()
	dir, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range levels {
		if err := unix.Mkdirat(dir, "d", 0o755); err != nil {
			t.Fatal(err)
		}
		inner, err := unix.Openat(dir, "d", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(dir)
		dir = inner
	}
	if err := unix.Mknodat(dir, "f", unix.S_IFREG|0o644, 0); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(dir)
}

// fewFiles lets the process open few files more than one of ours has open in a tree, until the test ends.
func fewFiles(t *testing.T) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	few := unix.Rlimit{Cur: uint64(len(open) + openLevels + 16), Max: before.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
}

// tree is a directory to fill, which goes with the test however deep it is.
func tree(t *testing.T) string {
	t.Helper()
	top := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(top, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(context.Background(), top); err != nil {
			t.Error(err)
		}
	})
	return top
}

// tooDeep is a number of levels that no path can name.
const tooDeep = 3000

func wantGone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there (%v)", path, err)
	}
}

func TestATreeIsRemovedHoweverDeepAndWide(t *testing.T) {
	shapes := map[string]func(t *testing.T, top string){
		"empty":    func(*testing.T, string) {},
		"not here": func(t *testing.T, top string) { remove(t, top) },
		"deep":     func(t *testing.T, top string) { nest(t, top, tooDeep) },
		"wide": func(t *testing.T, top string) {
			for i := range 3 * namesAtOnce {
				if err := os.MkdirAll(filepath.Join(top, fmt.Sprint(i), "d"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
		},
		"deep in many places": func(t *testing.T, top string) {
			for i := range 3 {
				place := filepath.Join(top, fmt.Sprint(i))
				if err := os.Mkdir(place, 0o755); err != nil {
					t.Fatal(err)
				}
				nest(t, place, 2*openLevels)
			}
		},
	}
	for name, fill := range shapes {
		t.Run(name, func(t *testing.T) {
			top := tree(t)
			fill(t, top)
			fewFiles(t)
			if err := removeTree(t.Context(), top); err != nil {
				t.Fatal(err)
			}
			wantGone(t, top)
		})
	}
}

func TestARemovalFollowsNoLink(t *testing.T) {
	top, outside := tree(t), t.TempDir()
	file := filepath.Join(outside, "file")
	if err := errors.Join(
		os.WriteFile(file, nil, 0o644),
		os.Symlink(outside, filepath.Join(top, "directory")),
		os.Symlink(file, filepath.Join(top, "file")),
		os.Symlink("nowhere", filepath.Join(top, "nothing")),
	); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(t.Context(), top); err != nil {
		t.Fatal(err)
	}
	wantGone(t, top)
	if err := os.Symlink(outside, top); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(t.Context(), top); err == nil {
		t.Error("a link in place of the tree is no error")
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a file outside: %v", err)
	}
	remove(t, top)
}

func TestARemovalEntersNoMountAndRemovesTheRest(t *testing.T) {
	for name, mount := range map[string]func(at, from string) error{
		"another file system": func(at, _ string) error { return unix.Mount("test", at, "tmpfs", 0, "size=64k") },
		"the same one":        func(at, from string) error { return unix.Mount(from, at, "", unix.MS_BIND, "") },
	} {
		t.Run(name, func(t *testing.T) {
			top := tree(t)
			at, other := filepath.Join(top, "a", "mount"), filepath.Join(top, "b", "file")
			if err := errors.Join(os.MkdirAll(at, 0o755), os.Mkdir(filepath.Dir(other), 0o755), os.WriteFile(other, nil, 0o644)); err != nil {
				t.Fatal(err)
			}
			if err := mount(at, t.TempDir()); err != nil {
				cannotMount(t, err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			kept := filepath.Join(at, "kept")
			if err := os.WriteFile(kept, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := removeTree(t.Context(), top); !errors.Is(err, unix.EXDEV) {
				t.Errorf("got %v", err)
			}
			if _, err := os.Stat(kept); err != nil {
				t.Errorf("what is mounted: %v", err)
			}
			wantGone(t, filepath.Dir(other))
		})
	}
}

func TestARemovalEndsWithItsContext(t *testing.T) {
	top := tree(t)
	nest(t, top, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := removeTree(ctx, top); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(top, "d", "d", "d")); err != nil {
		t.Errorf("something was removed: %v", err)
	}
}

func TestAnOldKernelOpensNoLinkAndNoMountEither(t *testing.T) {
	top := tree(t)
	bound := filepath.Join(top, "bound")
	if err := errors.Join(os.Mkdir(filepath.Join(top, "dir"), 0o755), os.Mkdir(bound, 0o755), os.Symlink("dir", filepath.Join(top, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		parent, name string
		want         error
	}{{top, "dir", nil}, {top, "link", unix.ENOTDIR}, {top, "missing", unix.ENOENT}, {"/", "proc", unix.EXDEV}, {top, "bound", unix.EXDEV}} {
		if c.name == "bound" {
			if err := unix.Mount(t.TempDir(), bound, "", unix.MS_BIND, ""); err != nil {
				cannotMount(t, err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(bound, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
		}
		parent, err := os.Open(c.parent)
		if err != nil {
			t.Fatal(err)
		}
		defer parent.Close()
		dir, err := openSameMount(parent, c.name)
		if !errors.Is(err, c.want) {
			t.Errorf("%s in %s: %v, want %v", c.name, c.parent, err, c.want)
		}
		if err == nil {
			_ = dir.Close()
		}
	}
}

// cannotMount ends a test that has to mount: a machine that runs CI can.
func cannotMount(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("nothing can be mounted here: ", err)
	}
	t.Skip("nothing can be mounted here: ", err)
}

// xfs mounts a new file system that has projects, with or without quotas.
func xfs(t *testing.T) string {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs.xfs")
	if err != nil {
		t.Skip(err)
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 300<<20)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		cannotMount(t, fmt.Errorf("%w: %s", err, out))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// setProject gives a directory a project, which what is made in it inherits.
func setProject(t *testing.T, path string, project uint32) {
	t.Helper()
	const get, set, inherit = 0x801c581f, 0x401c5820, 0x200
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var attributes struct {
		flags, _, _, project, _ uint32
		_                       [8]byte
	}
	for _, request := range []uintptr{get, set} {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), request, uintptr(unsafe.Pointer(&attributes))); errno != 0 {
			t.Fatal(errno)
		}
		attributes.flags, attributes.project = attributes.flags|inherit, project
	}
}

// Below a directory that an administrator limits, everything is of that project but for what has a limit of its own, and what
// a pod has given yet another one.
func TestADeepTreeOfOtherProjectsIsRemoved(t *testing.T) {
	limited := xfs(t)
	setProject(t, limited, 7)
	top := filepath.Join(limited, "volume")
	for path, project := range map[string]uint32{"upper": 1<<30 + 1, "upper/a/b": 1<<30 + 2} {
		path = filepath.Join(top, path)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		setProject(t, path, project)
		nest(t, path, 3*openLevels)
	}
	if err := removeTree(t.Context(), top); err != nil {
		t.Fatal(err)
	}
	wantGone(t, top)
}
