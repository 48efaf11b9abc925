package hostmount

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// store describes a bind of a directory with one file.
func (f *fixture) store(t testing.TB) Bind {
	t.Helper()
	b := Bind{Store: filepath.Join(f.root, "store"), Dir: "imagecsi/driver/tree", Target: filepath.Join(f.root, "pods/uid/volumes/kubernetes.io~csi/v/mount")}
	writeFile(t, filepath.Join(b.Store, b.Dir, "file"), "x")
	return b
}

// whereMappable runs a test where a directory can be bound read-only. On other kernels, and with SELinux, it wants the refusal instead.
func whereMappable(t *testing.T, test func(t *testing.T, f *fixture)) {
	f := newFixture(t)
	if reason := f.mappable(Bind{}); reason != nil {
		t.Log(reason)
		f.refusesBinds(t)
		return
	}
	test(t, f)
}

func (f *fixture) refusesBinds(t *testing.T) {
	t.Helper()
	b := f.store(t)
	if err := f.MountBind(deadline(t), b); !errors.Is(err, ErrNotMappable) {
		t.Errorf("a bind: %v", err)
	}
	if mapsUsers() != nil {
		if store, err := f.OpenStore(deadline(t), b.Store); !errors.Is(err, ErrNotMappable) || store != nil {
			t.Errorf("the store: %v", err)
		}
	}
	if _, err := os.Lstat(b.Target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target was made (%v)", err)
	}
}

func TestABindShowsADirectoryThatCannotBeWritten(t *testing.T) {
	whereMappable(t, aBindShowsADirectoryThatCannotBeWritten)
}

func aBindShowsADirectoryThatCannotBeWritten(t *testing.T, f *fixture) {
	b := f.store(t)
	before := openFiles(t)
	for range 2 {
		if err := f.MountBind(deadline(t), b); err != nil {
			t.Fatal(err)
		}
	}
	if here := f.at(t, b.Target); len(here) != 1 || !strings.HasSuffix(here[0].Root, "/"+b.Dir) || !here[0].ReadOnly {
		t.Errorf("mounts %+v", here)
	}
	file := filepath.Join(b.Target, "file")
	if got := readFile(t, file); got != "x" {
		t.Errorf("the file holds %q", got)
	}
	if err := os.WriteFile(file, nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing gives %v", err)
	}
	if flags := mountFlags(t, b.Target); flags&unix.ST_NOSUID == 0 || flags&unix.ST_NODEV == 0 || flags&unix.ST_RDONLY == 0 {
		t.Errorf("flags %#x", flags)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, and %d were", after, before)
	}
	other := b
	other.Dir = "imagecsi/driver/other"
	writeFile(t, filepath.Join(b.Store, other.Dir, "file"), "y")
	if err := f.MountBind(deadline(t), other); !errors.Is(err, ErrOccupied) {
		t.Errorf("another directory: %v", err)
	}
	if err := f.Unmount(deadline(t), b.Target); err != nil {
		t.Error(err)
	}
	if got := readFile(t, filepath.Join(b.Store, b.Dir, "file")); got != "x" {
		t.Errorf("the file itself holds %q", got)
	}
}

// What others mount in the store stays there.
func TestABindHasNothingOfWhatIsMountedBeneath(t *testing.T) {
	whereMappable(t, aBindHasNothingOfWhatIsMountedBeneath)
}

func aBindHasNothingOfWhatIsMountedBeneath(t *testing.T, f *fixture) {
	b := f.store(t)
	f.bind(t, b.Store, b.Store, 0)
	f.share(t, b.Store)
	f.tmpfs(t, filepath.Join(b.Store, b.Dir, "before"))
	if err := f.MountBind(deadline(t), b); err != nil {
		t.Fatal(err)
	}
	f.tmpfs(t, filepath.Join(b.Store, b.Dir, "after"))
	for _, name := range []string{"before", "after"} {
		if here := f.at(t, filepath.Join(b.Target, name)); len(here) != 0 {
			t.Errorf("what was mounted %s: %+v", name, here)
		}
	}
}

func TestABindIsRefusedWithoutATrace(t *testing.T) { whereMappable(t, aBindIsRefusedWithoutATrace) }

func aBindIsRefusedWithoutATrace(t *testing.T, f *fixture) {
	for name, test := range map[string]struct {
		change func(*Bind)
		want   error
	}{
		"of a missing directory": {func(b *Bind) { b.Dir = "imagecsi/driver/none" }, fs.ErrNotExist},
		"in a missing store":     {func(b *Bind) { b.Store += "-none" }, fs.ErrNotExist},
		"through a link":         {func(b *Bind) { b.Dir = "link/driver/tree" }, ErrBadLayer},
		"of a file":              {func(b *Bind) { b.Dir += "/file" }, ErrBadLayer},
		"on a target elsewhere":  {func(b *Bind) { b.Target = "/elsewhere" }, ErrBadTarget},
	} {
		t.Run(name, func(t *testing.T) {
			b := f.store(t)
			_ = os.Symlink("imagecsi", filepath.Join(b.Store, "link"))
			test.change(&b)
			if err := f.MountBind(deadline(t), b); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if _, err := os.Lstat(b.Target); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the target was made (%v)", err)
			}
		})
	}
}

// Where SELinux is enabled, a container could not read what has the labels of the image store.
func TestNothingIsBoundWhereLabelsWouldHaveToChange(t *testing.T) {
	f := newFixture(t)
	f.seLinux = true
	f.refusesBinds(t)
}

// What a volume may write is its own, so it has a label that no other container needs.
func TestWhatMayBeWrittenIsBoundWithSELinuxToo(t *testing.T) {
	f := newFixture(t)
	f.seLinux = true
	b := f.store(t)
	b.Writable = true
	err := f.MountBind(deadline(t), b)
	if reason := mapsUsers(); reason != nil {
		if !errors.Is(err, ErrNotMappable) {
			t.Errorf("%v, and %v", reason, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.Target, "file"), []byte("changed"), 0o644); err != nil || readFile(t, filepath.Join(b.Store, b.Dir, "file")) != "changed" {
		t.Errorf("writing gives %v", err)
	}
}

// CRI-O mounts its directory of layers onto itself.
func TestFilesOfAStoreCanBeLinkedAcrossItsMounts(t *testing.T) {
	f := newFixture(t)
	if reason := mapsUsers(); reason != nil {
		t.Log(reason)
		f.refusesBinds(t)
		return
	}
	store := f.dir(t, "store")
	writeFile(t, filepath.Join(store, "overlay/1/diff/file"), "x")
	f.bind(t, filepath.Join(store, "overlay"), filepath.Join(store, "overlay"), 0)
	from, to := filepath.Join(store, "overlay/1/diff/file"), filepath.Join(store, "link")
	inNamespace(t, f, func() error {
		if err := os.Link(from, to); !errors.Is(err, unix.EXDEV) {
			t.Errorf("a link by path: %v", err)
		}
		return nil
	})
	opened, err := f.OpenStore(deadline(t), store)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Linkat(int(opened.Fd()), "overlay/1/diff/file", int(opened.Fd()), "link", 0); err != nil {
		t.Errorf("a link in the opened store: %v", err)
	}
	dir, err := OpenDir(opened, "overlay/1/diff")
	if err != nil {
		t.Fatal(err)
	}
	if names, err := dir.Readdirnames(-1); err != nil || len(names) != 1 {
		t.Errorf("names %v (%v)", names, err)
	}
	if err := os.Symlink("1", filepath.Join(store, "overlay/l")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(opened, "overlay/l/diff"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("through a link: %v", err)
	}
	if err := errors.Join(dir.Close(), opened.Close()); err != nil {
		t.Error(err)
	}
	if got := readFile(t, to); got != "x" {
		t.Errorf("the link leads to %q", got)
	}
}
