package hostmount

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTargetsOutsideTheRootAreRefused(t *testing.T) {
	e := &Engine{config: Config{Root: "/var/lib/kubelet"}}
	for _, target := range []string{
		"", "pods/x", "/", "/etc", "/var/lib/kubelet", "/var/lib/kubelet/", "/var/lib/kubelet/../x",
		"/var/lib/kubelet/pods/../../x", "/var/lib/kubelet/pods/..", "/var/lib/kubelet2/x", "/var/lib/kubelet/a\x00b",
		"/var/lib/kubelet/pods/../pods/x",
	} {
		if rel, err := e.beneathRoot(target); !errors.Is(err, ErrBadTarget) {
			t.Errorf("%q: %q, %v", target, rel, err)
		}
	}
}

func TestTargetsBeneathTheRootAreTaken(t *testing.T) {
	for target, want := range map[string]string{
		"/var/lib/kubelet/pods/x":    "pods/x",
		"/var/lib/kubelet/pods/x/":   "pods/x",
		"/var/lib/kubelet//pods/./x": "pods/x",
		"/var/lib/kubelet/..x":       "..x",
	} {
		e := &Engine{config: Config{Root: "/var/lib/kubelet"}}
		if rel, err := e.beneathRoot(target); rel != want || err != nil {
			t.Errorf("%q: %q, %v", target, rel, err)
		}
	}
	atTop := &Engine{config: Config{Root: "/"}}
	if rel, err := atTop.beneathRoot("/mnt/x"); rel != "mnt/x" || err != nil {
		t.Errorf("root /: %q, %v", rel, err)
	}
}

func TestSymbolicLinksOnTheWayToATargetAreRefused(t *testing.T) {
	eachPath(t, func(t *testing.T, f *fixture) {
		o := f.overlay(t, f.layers(t, 2)...)
		outside := t.TempDir()
		f.dir(t, "real")
		for _, c := range []struct{ link, to, target string }{
			{"pods/link", outside, "pods/link"},
			{"pods/relative", "../real", "pods/relative"},
			{"pods/dir", outside, "pods/dir/mount"},
			{"pods/inside", "../real", "pods/inside/mount"},
			{"pods/dangling", "/nonexistent", "pods/dangling"},
			{"pods/magic", "/proc/self/root", "pods/magic/tmp/mount"},
		} {
			f.dir(t, "pods")
			if err := os.Symlink(c.to, filepath.Join(f.root, c.link)); err != nil {
				t.Fatal(err)
			}
			o.Target = filepath.Join(f.root, c.target)
			if err := f.MountOverlay(deadline(t), o); !errors.Is(err, ErrBadTarget) {
				t.Errorf("mount on %s: %v", c.target, err)
			}
			if err := f.Unmount(deadline(t), o.Target); !errors.Is(err, ErrBadTarget) {
				t.Errorf("unmount of %s: %v", c.target, err)
			}
		}
		if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
			t.Errorf("something was made outside the root: %v, %v", entries, err)
		}
	})
}

func TestAFileIsNoTarget(t *testing.T) {
	f := newFixture(t)
	o := f.overlay(t, f.layers(t, 2)...)
	writeFile(t, o.Target, "x")
	if err := f.MountOverlay(deadline(t), o); !errors.Is(err, ErrBadTarget) {
		t.Errorf("got %v", err)
	}
	if err := f.Unmount(deadline(t), o.Target); !errors.Is(err, ErrBadTarget) {
		t.Errorf("got %v", err)
	}
}

// Kernels before 5.6 have no openat2: the walk must refuse the same.
func TestTheWalkRefusesWhatOpenat2Refuses(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"a/b", "real"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(root)
	for rel, want := range map[string]error{
		"a/b": nil, "a": nil, "link": ErrBadTarget, "link/x": ErrBadTarget, "a/none": unix.ENOENT,
	} {
		byKernel, kernelErr := openDir(root, rel)
		closeFD(byKernel)
		byWalk, walkErr := walk(root, rel, false)
		closeFD(byWalk)
		walkErr = refused(walkErr, rel)
		if !errors.Is(kernelErr, want) || !errors.Is(walkErr, want) {
			t.Errorf("%s: openat2 %v, walk %v, want %v", rel, kernelErr, walkErr, want)
		}
	}
	fd, made, err := makeDir(root, "a/c/d")
	closeFD(fd)
	if err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "a/c/d")); err != nil || info.Mode().Perm() != targetMode {
		t.Errorf("%v, %v", info, err)
	}
}
