package hostmount

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tmpfs mounts a file system in memory where the engine mounts, makes the directory for it, and puts a file into it.
func (f *fixture) tmpfs(t *testing.T, at string) {
	t.Helper()
	inNamespace(t, f, func() error {
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", at, "tmpfs", 0, ""); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(at, "inner"), nil, 0o600)
	})
}

func (f *fixture) bind(t *testing.T, from, at string, flags uintptr) {
	t.Helper()
	inNamespace(t, f, func() error { return unix.Mount(from, at, "", unix.MS_BIND|flags, "") })
}

// share has what is mounted in the mount at a directory be mounted in its copies, as on a node.
func (f *fixture) share(t *testing.T, at string) {
	t.Helper()
	inNamespace(t, f, func() error { return unix.Mount("", at, "", unix.MS_SHARED|unix.MS_REC, "") })
}

// targets are the mount points beneath a directory, and it.
func (f *fixture) targets(t *testing.T, dir string) []string {
	t.Helper()
	mounts, err := f.Mounts(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range mounts {
		if m.Target == dir || isBeneath(dir, m.Target) {
			found = append(found, m.Target)
		}
	}
	slices.Sort(found)
	return found
}

// mountedWritable mounts a writable overlay of two layers.
func (f *fixture) mountedWritable(t *testing.T) Overlay {
	t.Helper()
	o := f.writable(t, f.overlay(t, f.layers(t, 2)...))
	if err := f.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// unmountAll unmounts a target and wants it to be gone, and the mounts elsewhere to be as before.
func (f *fixture) unmountAndCompare(t *testing.T, target string) {
	t.Helper()
	elsewhere := func() []string {
		return slices.DeleteFunc(f.targets(t, f.root), func(m string) bool { return m == target || isBeneath(target, m) })
	}
	before := elsewhere()
	if err := f.Unmount(deadline(t), target); err != nil {
		t.Fatal(err)
	}
	if left := f.targets(t, target); len(left) != 0 {
		t.Errorf("still mounted: %q", left)
	}
	if after := elsewhere(); !slices.Equal(after, before) {
		t.Errorf("elsewhere there were %q, and there are %q", before, after)
	}
	if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory stays: %v", err)
	}
}

func TestWhatOthersMountedBeneathATargetGoesWithIt(t *testing.T) {
	tests := map[string]func(t *testing.T, f *fixture, target string){
		"a directory": func(t *testing.T, f *fixture, target string) { f.tmpfs(t, target+"/more") },
		"mounts in mounts": func(t *testing.T, f *fixture, target string) {
			f.tmpfs(t, target+"/a")
			f.tmpfs(t, target+"/a/b/c")
			f.tmpfs(t, target+"/a/b/c/d")
		},
		"stacked on another": func(t *testing.T, f *fixture, target string) { f.tmpfs(t, target+"/more"); f.tmpfs(t, target+"/more") },
		"stacked, and inside": func(t *testing.T, f *fixture, target string) {
			f.tmpfs(t, target+"/x")
			f.tmpfs(t, target)
			f.tmpfs(t, target+"/x")
			f.tmpfs(t, target+"/x/y")
		},
		"odd names": func(t *testing.T, f *fixture, target string) {
			for _, name := range []string{"a b", "tab\tnew\nline", `back\slash`, `\040`, "-", "#", "ä\xff", "deleted"} {
				f.tmpfs(t, filepath.Join(target, name))
			}
		},
		"a file": func(t *testing.T, f *fixture, target string) {
			message := filepath.Join(f.root, "termination-log")
			writeFile(t, message, "said")
			writeFile(t, target+"/log.txt", "")
			f.bind(t, message, target+"/log.txt", 0)
		},
		"another name of what is mounted elsewhere": func(t *testing.T, f *fixture, target string) {
			f.tmpfs(t, f.root+"/elsewhere")
			if err := os.Mkdir(target+"/bound", 0o755); err != nil {
				t.Fatal(err)
			}
			f.bind(t, f.root+"/elsewhere", target+"/bound", 0)
		},
		"a part of the volume itself": func(t *testing.T, f *fixture, target string) {
			if err := errors.Join(os.Mkdir(target+"/from", 0o755), os.Mkdir(target+"/to", 0o755)); err != nil {
				t.Fatal(err)
			}
			f.bind(t, target+"/from", target+"/to", 0)
			f.tmpfs(t, target+"/to/inner")
		},
		"a path that takes steps": func(t *testing.T, f *fixture, target string) {
			inNamespace(t, f, func() error {
				if err := unix.Chdir(target); err != nil {
					return err
				}
				name := strings.Repeat("n", 250)
				for range 20 {
					if err := errors.Join(unix.Mkdir(name, 0o755), unix.Chdir(name)); err != nil {
						return err
					}
				}
				return errors.Join(unix.Mkdir("in", 0o755), unix.Mount("tmpfs", "in", "tmpfs", 0, ""))
			})
		},
	}
	for name, mount := range tests {
		for _, shared := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				f := newFixture(t)
				if shared {
					f.bind(t, f.root, f.root, 0)
					t.Cleanup(func() { inNamespace(t, f, func() error { return unix.Unmount(f.root, unix.MNT_DETACH) }) })
					f.share(t, f.root)
				}
				o := f.mountedWritable(t)
				mount(t, f, o.Target)
				f.tmpfs(t, o.Target+"-beside")
				f.tmpfs(t, filepath.Dir(o.Target)+"/moun")
				f.unmountAndCompare(t, o.Target)
			})
		}
	}
}

func TestMoreMountsThanOneTurnTakes(t *testing.T) {
	f := newFixture(t)
	o := f.mountedWritable(t)
	inNamespace(t, f, func() error {
		for range clearAtOnce/2 + 10 {
			if err := unix.Mount("tmpfs", o.Target, "tmpfs", 0, ""); err != nil {
				return err
			}
			if err := errors.Join(unix.Mkdir(o.Target+"/in", 0o755), unix.Mount("tmpfs", o.Target+"/in", "tmpfs", 0, "")); err != nil {
				return err
			}
		}
		return nil
	})
	f.unmountAndCompare(t, o.Target)
}

func TestWhatIsMountedBeneathATargetThatIsNoMountGoes(t *testing.T) {
	f := newFixture(t)
	target := f.dir(t, "pods/uid/volumes/kubernetes.io~csi/v/mount")
	f.tmpfs(t, target)
	f.tmpfs(t, target+"/a")
	inNamespace(t, f, func() error { return unix.Unmount(target, unix.MNT_DETACH) })
	f.tmpfs(t, target+"/more") // its mount point stays
	if err := f.Unmount(deadline(t), target); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("got %v", err)
	}
	if left := f.targets(t, target); len(left) != 0 {
		t.Errorf("still mounted: %q", left)
	}
}

// A pod can show a directory of the node in its volume. What is mounted in that directory is the node's.
func TestWhatTheNodeMountedElsewhereStays(t *testing.T) {
	f := newFixture(t)
	outside := f.dir(t, "outside")
	f.tmpfs(t, outside)
	f.share(t, outside)
	f.tmpfs(t, outside+"/proc")
	o := f.mountedWritable(t)
	if err := os.Mkdir(o.Target+"/host", 0o755); err != nil {
		t.Fatal(err)
	}
	f.bind(t, outside, o.Target+"/host", unix.MS_REC)

	if f.config.NamespaceDir != "" {
		f.unmountAndCompare(t, o.Target)
	} else {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := f.Unmount(ctx, o.Target)
		if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), o.Target+"/host/proc") || !strings.Contains(err.Error(), "mounted elsewhere as well") {
			t.Errorf("got %v", err)
		}
	}
	if left := f.targets(t, outside); !slices.Equal(left, []string{outside, outside + "/proc"}) {
		t.Errorf("outside there are %q", left)
	}
	readFile(t, outside+"/proc/inner")
	if f.config.NamespaceDir == "" {
		inNamespace(t, f, func() error {
			return errors.Join(unix.Mount("", o.Target+"/host", "", unix.MS_PRIVATE, ""), unix.Unmount(o.Target+"/host", unix.MNT_DETACH))
		})
	}
}

// Bottlerocket mounts /local/var at /var as well, so that every mount in it is there twice.
func TestMountsThatTheNodeShowsTwiceGoFromBothPlaces(t *testing.T) {
	f := newFixture(t)
	local, again := f.dir(t, "local"), f.dir(t, "var")
	f.tmpfs(t, local)
	f.share(t, local)
	f.bind(t, local, again, 0)
	o := f.writable(t, f.overlay(t, f.layers(t, 2)...))
	const rel = "/kubelet/pods/uid/volumes/kubernetes.io~csi/v/mount"
	o.Target = again + rel
	config := f.config
	config.Root = again + "/kubelet"
	inNamespace(t, f, func() error { return os.Mkdir(local+"/kubelet", 0o755) })
	e, err := Open(deadline(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	if err := e.MountOverlay(deadline(t), o); err != nil {
		t.Fatal(err)
	}
	f.tmpfs(t, o.Target+"/more")
	f.tmpfs(t, o.Target+"/more/d")
	if there := f.targets(t, local+rel); len(there) != 3 {
		t.Fatalf("at the other place there are %q", there)
	}
	if err := e.Unmount(deadline(t), o.Target); err != nil {
		t.Error(err)
	}
	if left := append(f.targets(t, local+rel), f.targets(t, o.Target)...); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

func TestAMountThatStaysIsNamed(t *testing.T) {
	f := newFixture(t)
	o := f.mountedWritable(t)
	inner, odd := o.Target+"/more", filepath.Join(o.Target, "a\nb")
	for _, at := range []string{inner, odd} {
		f.tmpfs(t, at)
	}
	file := openInNamespace(t, f, inner+"/inner")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := f.Unmount(ctx, o.Target)
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), `tmpfs is mounted beneath it, at "`+inner+`"`) ||
		!strings.Contains(err.Error(), "has files open") {
		t.Errorf("got %v", err)
	}
	if left := f.targets(t, o.Target); !slices.Equal(left, []string{o.Target, inner}) {
		t.Errorf("there are %q", left)
	}
	time.AfterFunc(300*time.Millisecond, func() { closeFD(file) })
	f.unmountAndCompare(t, o.Target)
}

func TestAFileSystemBeneathATargetThatHangsKeepsNoOtherWaiting(t *testing.T) {
	f := newFixture(t)
	o := f.mountedWritable(t)
	f.tmpfs(t, o.Target+"/more")
	hangs, end := make(chan struct{}), make(chan struct{})
	go func() {
		_ = f.within(context.Background(), &f.clearing, func() error { close(hangs); <-end; return nil }, "")
	}()
	<-hangs
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := f.Unmount(ctx, o.Target); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "beneath another volume does not answer") {
		t.Errorf("got %v", err)
	}
	other := f.overlay(t, f.layers(t, 2)...)
	other.Target += "-other"
	if err := errors.Join(f.MountOverlay(deadline(t), other), f.Unmount(deadline(t), other.Target)); err != nil {
		t.Error(err)
	}
	close(end)
	f.unmountAndCompare(t, o.Target)
}

func TestMountsInsideATargetAreToldFromOthers(t *testing.T) {
	const target, rel = "/kubelet/pods/u/mount", "pods/u/mount"
	n := survey([]Mount{
		{Target: "/", id: 1, parent: 0, peers: 1},
		{Target: target, id: 2, parent: 1, peers: 2},
		{Target: "/local/kubelet/pods/u/mount", id: 3, parent: 1, peers: 2},
		{Target: target + "/host", id: 4, parent: 2, peers: 1, Root: "/etc"},
		{Target: target + "/host/x//deleted", id: 5, parent: 4},
		{Target: target + "/own", id: 6, parent: 2, peers: 6},
		{Target: "/local/kubelet/pods/u/mount/own", id: 7, parent: 3, peers: 6},
		{Target: target + "-not", id: 8, parent: 1, peers: 8},
		{Target: "/slave", id: 9, parent: 1, master: 10},
		{Target: target, id: 11, parent: 2, peers: 10},
		{Target: target + "/early", id: 12, parent: 1},
	}, target, rel)
	if n.volume.id != 2 {
		t.Errorf("the volume is %+v", n.volume)
	}
	nsenter, own := &Engine{config: Config{NamespaceDir: "/ns"}}, &Engine{}
	for id, want := range map[int]bool{2: false, 4: true, 6: false, 11: true} {
		if got := nsenter.reachesFurther(n.inside[id], n); got != want {
			t.Errorf("mount %d reaches further: %v", id, got)
		}
	}
	foreign := Mount{id: 13, peers: 12, Root: "/sub", Device: 99}
	if nsenter.reachesFurther(foreign, n) || !own.reachesFurther(foreign, n) {
		t.Error("a directory of another file system in a namespace that does not show all")
	}

	// What lies in the volume can be reached when what is stacked on it is gone, and what lies in the directory, then.
	for _, want := range [][]int{{11}, {5, 6}, {4}, {}} {
		var leaves []int
		for _, m := range n.leaves() {
			leaves = append(leaves, m.id)
			n.remove(m)
		}
		if !slices.Equal(leaves, want) {
			t.Errorf("leaves %v, want %v", leaves, want)
		}
	}
	n.volume = Mount{}
	n.remove(Mount{id: 2, parent: 1, Target: target})
	if leaves := n.leaves(); len(leaves) != 1 || leaves[0].id != 12 {
		t.Errorf("leaves %+v", leaves)
	}
}
