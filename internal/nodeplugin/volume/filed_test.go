package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/erofsfile"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume/volumetest"
)

// withoutLinks is a world in which no linked tree can be made of an image, whose layers lie in two stores.
func withoutLinks(t *testing.T) *world {
	t.Helper()
	w, _ := withLayers(t)
	other, _ := withLayers(t)
	w.Layers[linkedTree][1] = other.Layers[linkedTree][1]
	w.Trees[linkedTree] = w.Layers[linkedTree][0]
	return w
}

// filesOf lists a node's EROFS files.
func filesOf(t *testing.T, n *Node) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(n.filesDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestALinkedTreeComesBeforeAnEROFSFileAndThatBeforeARefusal(t *testing.T) {
	refused := func(reason string) error { return fmt.Errorf("%w: %s", hostmount.ErrNotMappable, reason) }
	fault := errors.New("a fault")
	for name, c := range map[string]struct {
		linked, file error
		want         mappableForm
		fails        string
	}{
		"both":                              {nil, nil, linkedForm, ""},
		"no file":                           {nil, refused("old kernel"), linkedForm, ""},
		"no links":                          {refused("SELinux"), nil, fileForm, ""},
		"links may come yet":                {fault, nil, 0, "a fault"},
		"no links, and a file may come yet": {refused("SELinux"), fault, 0, "a fault"},
		"neither, each with its own reason": {fmt.Errorf("opening: %w", refused("SELinux")), refused("old kernel"), 0, "tree of links, because SELinux; and not as an EROFS file, because old kernel"},
	} {
		got, err := mappableFormOf(c.linked, c.file)
		if c.fails == "" && (err != nil || got != c.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails) || strings.Count(err.Error(), hostmount.ErrNotMappable.Error()) > 1) {
			t.Errorf("%s: %v", name, err)
		}
		if both := c.linked != nil && c.file != nil && !errors.Is(c.file, fault); both && !errors.Is(err, hostmount.ErrNotMappable) {
			t.Errorf("%s: %v is no refusal", name, err)
		}
	}
}

func TestAnEROFSFileIsMadeOnceAndGoesWithItsLastVolume(t *testing.T) {
	w := withoutLinks(t)
	root := t.TempDir()
	n := w.node(t, root)
	for _, uid := range []string{"a", "b"} {
		if err := n.Publish(t.Context(), mappable(t, root, uid)); err != nil {
			t.Fatal(err)
		}
	}
	name := "imagecsi:" + volumetest.Driver + "@" + linkedTree
	for _, uid := range []string{"a", "b"} {
		if m := w.Mounted[volumetest.TargetOf(root, uid)]; m.Source != name || !m.IsFile() {
			t.Errorf("mounted %+v", m)
		}
	}
	if w.Count("open") != 1 {
		t.Errorf("the image was read %d times", w.Count("open"))
	}
	if volumes, err := n.ListVolumes(t.Context()); err != nil || len(volumes) != 2 || volumes[0].Form != "IDMappable" || volumes[0].Tree != linkedTree {
		t.Errorf("volumes %+v (%v)", volumes, err)
	}
	for _, uid := range []string{"a", "b"} {
		later(t, n, time.Hour)
		if got := filesOf(t, n); len(got) != 1 || got[0] != name || !w.HasPin[linkedTree] {
			t.Errorf("before the unpublish of %s: files %q, pins %v", uid, got, w.HasPin)
		}
		if err := n.Unpublish(t.Context(), "csi-"+uid, volumetest.TargetOf(root, uid)); err != nil {
			t.Fatal(err)
		}
	}
	later(t, n, DefaultReleaseAfter/2)
	if got := filesOf(t, n); len(got) != 1 {
		t.Errorf("within the grace period: %q", got)
	}
	later(t, n, time.Hour)
	if got := filesOf(t, n); len(got) != 0 {
		t.Errorf("files are left: %q", got)
	}
	w.expectNothingLeft(t, n)
}

// The mount table and the directory are all that a new process has.
func TestANewProcessFindsEROFSFilesAndRemovesWhatAKilledOneLeft(t *testing.T) {
	w := withoutLinks(t)
	root := t.TempDir()
	first := w.node(t, root)
	r := mappable(t, root, "a")
	if err := first.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for _, tree := range []string{linkedTree + newSuffix, "sha256:" + strings.Repeat("b", 64) + newSuffix, "sha256:" + strings.Repeat("c", 64)} {
		if err := os.WriteFile(first.fileOf(tree), []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := w.node(t, root)
	for _, uid := range []string{"a", "b"} {
		if err := n.Publish(t.Context(), mappable(t, root, uid)); err != nil {
			t.Fatal(err)
		}
	}
	if w.Count("open") != 1 {
		t.Errorf("the image was read %d times", w.Count("open"))
	}
	delete(w.HasPin, linkedTree)
	later(t, n, time.Hour)
	if got := filesOf(t, n); !w.HasPin[linkedTree] || len(got) != 1 || got[0] != filepath.Base(n.fileOf(linkedTree)) {
		t.Errorf("files %q, pins %v", got, w.HasPin)
	}
	w.Reboot()
	if err := n.ReleaseUnused(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := filesOf(t, n); len(got) != 0 {
		t.Errorf("files are left: %q", got)
	}
}

func TestAnEROFSFileIsMadeToItsEndWhenItsCallerHasGivenUp(t *testing.T) {
	w := withoutLinks(t)
	root := t.TempDir()
	n := w.node(t, root)
	goOn := w.givenUp(t, n, root)
	if err := n.ReleaseUnused(t.Context()); err != nil || !w.HasPin[linkedTree] || len(filesOf(t, n)) != 1 {
		t.Errorf("the draft, or the layers' pin, went while the file is written (%v)", err)
	}
	goOn()
	if err := n.Publish(t.Context(), mappable(t, root, "a")); err != nil || w.Count("open") != 1 {
		t.Errorf("the next try: %v, and the image was read %d times", err, w.Count("open"))
	}
	w.ExpectWhole(t)
}

// A bind takes no label, so SELinux is a reason, and a file system on which no more links can be made is another.
func TestAnEROFSFileIsMadeWhereverALinkedTreeIsRefused(t *testing.T) {
	w, _ := withLayers(t)
	w.Trees[linkedTree] = w.Layers[linkedTree][0]
	w.NoBinds = fmt.Errorf("%w: it has SELinux", hostmount.ErrNotMappable)
	root := t.TempDir()
	n := w.node(t, root)
	if err := n.Publish(t.Context(), mappable(t, root, "a")); err != nil || !w.Mounted[volumetest.TargetOf(root, "a")].IsFile() || w.Count("store") != 0 {
		t.Errorf("%v, mounts %v, the store was opened %d times", err, w.Mounted, w.Count("store"))
	}
	w.NoBinds = nil
	if err := n.Publish(t.Context(), mappable(t, root, "b")); err != nil || !w.Mounted[volumetest.TargetOf(root, "b")].IsFile() {
		t.Errorf("a file that is there is not used: %v, mounts %v", err, w.Mounted)
	}
}

func TestWhatCanBeNoEROFSFileIsRefusedInOneSentenceAndLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		says   string
	}{
		"an old kernel":  {func(w *world) { w.NoFiles = fmt.Errorf("%w: its kernel takes Linux 6.12", hostmount.ErrNotMappable) }, "because its kernel takes Linux 6.12"},
		"a large image":  {func(w *world) { w.Bytes = erofsfile.MaxBytes + 1 }, "and a file takes 16Gi at most"},
		"a fault":        {func(w *world) { w.Faults["open"] = 9 }, "injected"},
		"a missing tree": {func(w *world) { w.Trees[linkedTree] = "/nonexistent" }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			w := withoutLinks(t)
			c.change(w)
			root := t.TempDir()
			n := w.node(t, root)
			err := n.Publish(t.Context(), mappable(t, root, "a"))
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
			if got := filesOf(t, n); len(got) != 0 || len(w.Mounted) != 0 {
				t.Errorf("files %q, mounts %v", got, w.Mounted)
			}
		})
	}
}

func TestADamagedEROFSFileIsMadeAgainByTheNextTry(t *testing.T) {
	w := withoutLinks(t)
	root := t.TempDir()
	n := w.node(t, root)
	if err := os.WriteFile(n.fileOf(linkedTree), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.BadFile = true
	if err := n.Publish(t.Context(), mappable(t, root, "a")); !errors.Is(err, hostmount.ErrBadEROFS) || len(filesOf(t, n)) != 0 {
		t.Errorf("%v, files %q", err, filesOf(t, n))
	}
	w.BadFile = false
	if err := n.Publish(t.Context(), mappable(t, root, "a")); err != nil || w.Count("open") != 1 {
		t.Errorf("the next try: %v", err)
	}
}

func TestTheDiskThatLacksRoomIsNamed(t *testing.T) {
	n := newWorld().node(t, t.TempDir())
	dir, err := os.Open(n.filesDir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := n.fullFiles(room(dir, 1<<60)); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), n.filesDir+", which holds images in the form IDMappable, is full; make room there") {
		t.Error(err)
	}
	if err := room(dir, 1); err != nil {
		t.Error(err)
	}
}
