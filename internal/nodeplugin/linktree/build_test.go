package linktree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// store is a directory as a runtime has one, and layers in it, topmost first.
type store struct {
	dir    string
	layers []string
}

func newStore(t *testing.T, layers int) store {
	t.Helper()
	s := store{dir: t.TempDir()}
	for i := range layers {
		layer := filepath.Join("overlay", fmt.Sprint(i), "diff")
		must(t, os.MkdirAll(filepath.Join(s.dir, layer), 0o755))
		s.layers = append(s.layers, layer)
	}
	must(t, os.Mkdir(filepath.Join(s.dir, "tree"), 0o700))
	return s
}

func (s store) path(layer int, name string) string {
	return filepath.Join(s.dir, s.layers[layer], name)
}

func (s store) write(t *testing.T, layer int, names ...string) {
	t.Helper()
	for _, name := range names {
		must(t, os.MkdirAll(filepath.Dir(s.path(layer, name)), 0o755))
		must(t, os.WriteFile(s.path(layer, name), []byte(fmt.Sprint(layer)), 0o644))
	}
}

func (s store) whiteout(t *testing.T, layer int, name string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(s.path(layer, name)), 0o755))
	must(t, unix.Mknod(s.path(layer, name), unix.S_IFCHR, 0))
}

// set sets an attribute that only root may set.
func (s store) set(t *testing.T, layer int, name, attribute, value string) {
	t.Helper()
	err := unix.Lsetxattr(s.path(layer, name), attribute, []byte(value), 0)
	if errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
		t.Skip("only root may set ", attribute)
	}
	must(t, err)
}

func (s store) build(ctx context.Context, t *testing.T, within bounds) (Built, error) {
	t.Helper()
	root, into := open(t, s.dir), open(t, filepath.Join(s.dir, "tree"))
	return build(ctx, root, s.layers, into, linker{}, within)
}

func (s store) mustBuild(t *testing.T) Built {
	t.Helper()
	built, err := s.build(t.Context(), t, bounds{maxEntries, maxDepth})
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// shows wants a tree to have just these files, each with the number of its layer.
func (s store) shows(t *testing.T, want map[string]string) {
	t.Helper()
	root := filepath.Join(s.dir, "tree")
	got := map[string]string{}
	must(t, filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			got[strings.TrimPrefix(path, root+"/")] = string(content)
			return err
		}
		return err
	}))
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the tree holds %v, want %v", got, want)
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	file, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestATreeShowsTheTopmostOfEqualNamesAndNothingThatIsHidden(t *testing.T) {
	s := newStore(t, 3)
	s.write(t, 0, "a/new", "becomes-a-file", "opaque/upper", "back/top")
	s.write(t, 1, "a/both", "b/only", "becomes-a-directory/inner", "opaque/middle", "opaque/both")
	s.write(t, 2, "a/both", "a/gone", "gone/deep/file", "becomes-a-file/inner", "becomes-a-directory", "opaque/lower", "opaque/both", "back/lower", "c/only")
	s.whiteout(t, 0, "a/gone")
	s.whiteout(t, 1, "gone")
	s.whiteout(t, 1, "back")
	s.whiteout(t, 2, "never-was")
	s.set(t, 1, "opaque", "trusted.overlay.opaque", "y")
	built := s.mustBuild(t)
	s.shows(t, map[string]string{
		"a/new": "0", "a/both": "1", "b/only": "1", "c/only": "2", "becomes-a-file": "0", "becomes-a-directory/inner": "1",
		"opaque/upper": "0", "opaque/middle": "1", "opaque/both": "1", "back/top": "0",
	})
	if built.Links != 10 || built.Directories != 7 {
		t.Errorf("built %+v", built)
	}
	if _, err := os.Lstat(filepath.Join(s.dir, "tree/never-was")); !os.IsNotExist(err) {
		t.Errorf("a whiteout of the lowest layer is shown (%v)", err)
	}
}

func TestDirectoriesAreAsTheTopmostLayerHasThemAndFilesAreTheLayersOwn(t *testing.T) {
	s := newStore(t, 2)
	s.write(t, 0, "dir/upper")
	s.write(t, 1, "dir/lower", "dir/secret")
	must(t, os.Symlink("/etc/passwd", s.path(1, "dir/link")))
	must(t, unix.Mkfifo(s.path(1, "dir/pipe"), 0o622))
	must(t, unix.Chmod(s.path(0, "dir"), 0o3751))
	must(t, unix.Chmod(s.path(1, "dir"), 0o700))
	must(t, unix.Chmod(s.path(1, "dir/secret"), 0o4600))
	must(t, unix.Chmod(s.path(0, "."), 0o1710))
	s.set(t, 0, "dir", "user.note", "kept")
	s.set(t, 0, "dir", "trusted.other", "left")
	old := unix.NsecToTimespec(1_000_000_000)
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, s.path(0, "dir"), []unix.Timespec{old, old}, 0))
	var before [4]unix.Stat_t
	names := []string{"dir/lower", "dir/secret", "dir/link", "dir/pipe"}
	for i, name := range names {
		must(t, unix.Lstat(s.path(1, name), &before[i]))
	}
	s.mustBuild(t)
	var dir, root unix.Stat_t
	must(t, unix.Stat(filepath.Join(s.dir, "tree/dir"), &dir))
	must(t, unix.Stat(filepath.Join(s.dir, "tree"), &root))
	if dir.Mode&0o7777 != 0o3751 || root.Mode&0o7777 != 0o1710 || dir.Mtim != old {
		t.Errorf("modes %o and %o, changed at %v", dir.Mode, root.Mode, dir.Mtim)
	}
	value := make([]byte, 10)
	if n, err := unix.Getxattr(filepath.Join(s.dir, "tree/dir"), "user.note", value); err != nil || string(value[:n]) != "kept" {
		t.Errorf("an attribute is %q (%v)", value[:max(n, 0)], err)
	}
	if _, err := unix.Getxattr(filepath.Join(s.dir, "tree/dir"), "trusted.other", value); !errors.Is(err, unix.ENODATA) {
		t.Errorf("an attribute that is not the image's: %v", err)
	}
	for i, name := range names {
		var after, shown unix.Stat_t
		must(t, unix.Lstat(s.path(1, name), &after))
		must(t, unix.Lstat(filepath.Join(s.dir, "tree", name), &shown))
		if shown.Ino != after.Ino || after.Nlink != before[i].Nlink+1 {
			t.Errorf("%s: inode %d of the layer, %d of the tree, %d names", name, after.Ino, shown.Ino, after.Nlink)
		}
		if after.Mode != before[i].Mode || after.Uid != before[i].Uid || after.Mtim != before[i].Mtim || after.Size != before[i].Size {
			t.Errorf("%s was changed", name)
		}
	}
	must(t, os.RemoveAll(filepath.Join(s.dir, "tree")))
	for i, name := range names {
		var after unix.Stat_t
		must(t, unix.Lstat(s.path(1, name), &after))
		if after.Nlink != before[i].Nlink {
			t.Errorf("%s has %d names left, and had %d", name, after.Nlink, before[i].Nlink)
		}
	}
}

// A layer's links to directories lead nowhere: neither when directories are merged nor when they are read.
func TestNoLinkOfALayerIsFollowed(t *testing.T) {
	s := newStore(t, 2)
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600))
	s.write(t, 0, "dir/upper", "replaced")
	must(t, os.Symlink(outside, s.path(1, "dir")))
	must(t, os.Symlink(outside, s.path(1, "replaced")))
	must(t, os.Symlink(outside, s.path(1, "link")))
	s.mustBuild(t)
	s.shows(t, map[string]string{"dir/upper": "0", "replaced": "0"})
	if target, err := os.Readlink(filepath.Join(s.dir, "tree/link")); err != nil || target != outside {
		t.Errorf("the link leads to %q (%v)", target, err)
	}
}

func TestWhatOnlyAnOverlayCanShowIsRefused(t *testing.T) {
	for name, attribute := range map[string]struct{ on, name, value string }{
		"a file with its content elsewhere":  {"dir/file", "trusted.overlay.metacopy", "x"},
		"a directory that was renamed":       {"dir", "trusted.overlay.redirect", "/other"},
		"whiteouts that are attributes":      {"dir", "trusted.overlay.opaque", "x"},
		"the root, with whiteouts like that": {".", "trusted.overlay.opaque", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, 2)
			s.write(t, 0, "dir/other")
			s.write(t, 1, "dir/file")
			s.set(t, 1, attribute.on, attribute.name, attribute.value)
			if _, err := s.build(t.Context(), t, bounds{maxEntries, maxDepth}); !errors.Is(err, hostmount.ErrNotMappable) {
				t.Errorf("built: %v", err)
			}
		})
	}
}

func TestABuildIsBounded(t *testing.T) {
	s := newStore(t, 2)
	s.write(t, 0, "a/b/c/one")
	s.write(t, 1, "a/b/c/two", "a/b/c/three")
	for name, test := range map[string]struct {
		within bounds
		says   string
	}{
		"by files": {bounds{entries: 8, depth: 10}, "more than 8 files"},
		"by depth": {bounds{entries: 100, depth: 2}, "more than 2 deep"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.RemoveAll(filepath.Join(s.dir, "tree")))
			must(t, os.Mkdir(filepath.Join(s.dir, "tree"), 0o700))
			_, err := s.build(t.Context(), t, test.within)
			if !errors.Is(err, hostmount.ErrNotMappable) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v does not say %s", err, test.says)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.build(ctx, t, bounds{100, 100}); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
}

func TestLayersInAnotherFileSystemAreRefusedInOneSentence(t *testing.T) {
	s := newStore(t, 1)
	s.write(t, 0, "file")
	elsewhere, err := os.MkdirTemp("/dev/shm", "linktree-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(elsewhere) })
	_, err = Build(t.Context(), open(t, s.dir), s.layers, open(t, elsewhere))
	if !errors.Is(err, hostmount.ErrNotMappable) || errors.Is(err, unix.EXDEV) || !strings.Contains(err.Error(), "another mount") {
		t.Errorf("got %v", err)
	}
}

// A driver that serves read-only volumes only may lack it.
func TestDirectoriesOfOthersAreRefusedWithoutTheRightToGiveThem(t *testing.T) {
	s := newStore(t, 1)
	s.write(t, 0, "dir/file")
	if err := os.Chown(s.path(0, "dir"), 1000, 1000); errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
		t.Skip("only root may give directories away")
	} else {
		must(t, err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all, less [2]unix.CapUserData
	must(t, unix.Capget(&header, &all[0]))
	less = all
	less[0].Effective &^= 1 << unix.CAP_CHOWN
	must(t, unix.Capset(&header, &less[0]))
	_, err := s.build(t.Context(), t, bounds{maxEntries, maxDepth})
	must(t, unix.Capset(&header, &all[0]))
	if !errors.Is(err, hostmount.ErrNotMappable) || !strings.Contains(err.Error(), "it lacks CHOWN") {
		t.Errorf("got %v", err)
	}
}

func TestDeepDirectoriesAreLinkedStepByStep(t *testing.T) {
	s := newStore(t, 1)
	deep := strings.Repeat(strings.Repeat("d", 250)+"/", 14)
	must(t, os.MkdirAll(s.path(0, deep), 0o755))
	s.write(t, 0, deep+"file")
	if built := s.mustBuild(t); built.Links != 1 || built.Directories != 15 {
		t.Errorf("built %+v", built)
	}
}
