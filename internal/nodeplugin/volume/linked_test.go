package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume/volumetest"
)

var linkedTree = "sha256:" + strings.Repeat("a", 64)

// withLayers is a world in which an image has layers of files.
func withLayers(t *testing.T) (w *world, store string) {
	t.Helper()
	w, store = newWorld(), t.TempDir()
	w.Tags["r.example/app:1"] = linkedTree
	for _, layer := range []string{"two", "one"} {
		dir := filepath.Join(store, "snapshots", layer, "fs")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, layer), []byte(layer), 0o644); err != nil {
			t.Fatal(err)
		}
		w.Layers[linkedTree] = append(w.Layers[linkedTree], dir)
	}
	return w, store
}

func mappable(t *testing.T, root, uid string) Request {
	t.Helper()
	r := request(t, root, uid, false)
	r.Form = contract.FormIDMappable
	return r
}

func nothingLinked(t *testing.T, n *Node, store string) {
	t.Helper()
	for _, dir := range []string{filepath.Join(store, linkedDir), n.stores.root} {
		if left, err := os.ReadDir(dir); len(left) != 0 || (err != nil && !os.IsNotExist(err)) {
			t.Errorf("%s holds %v (%v)", dir, left, err)
		}
	}
}

func TestAFormIsMadeOnceAndGoesWithItsLastVolume(t *testing.T) {
	w, store := withLayers(t)
	root := t.TempDir()
	n := w.node(t, root)
	for _, uid := range []string{"a", "b"} {
		if err := n.Publish(t.Context(), mappable(t, root, uid)); err != nil {
			t.Fatal(err)
		}
	}
	shown := w.Mounted[volumetest.TargetOf(root, "a")]
	if want := filepath.Join(store, linkedDir, volumetest.Driver, strings.Repeat("a", 64)); shown.Root != want {
		t.Errorf("bound %+v, want %s", shown, want)
	}
	for _, layer := range []string{"one", "two"} {
		if content, err := os.ReadFile(filepath.Join(shown.Root, layer)); string(content) != layer {
			t.Errorf("%s holds %q (%v)", layer, content, err)
		}
	}
	if w.Count("store") != 1 {
		t.Errorf("the store was opened %d times", w.Count("store"))
	}
	for _, uid := range []string{"a", "b"} {
		later(t, n, time.Hour)
		if _, err := os.Stat(shown.Root); err != nil || !w.HasPin[linkedTree] {
			t.Errorf("before the unpublish of %s: %v, pins %v", uid, err, w.HasPin)
		}
		if err := n.Unpublish(t.Context(), "csi-"+uid, volumetest.TargetOf(root, uid)); err != nil {
			t.Fatal(err)
		}
	}
	later(t, n, DefaultReleaseAfter/2)
	if _, err := os.Stat(shown.Root); err != nil {
		t.Errorf("within the grace period: %v", err)
	}
	later(t, n, time.Hour)
	nothingLinked(t, n, store)
	w.expectNothingLeft(t, n)
	if _, err := os.Stat(filepath.Join(w.Layers[linkedTree][0], "two")); err != nil {
		t.Errorf("a file of the image: %v", err)
	}
}

// The mount table and the store's directory are all that a new process has.
func TestANewProcessFindsFormsAndRemovesWhatAKilledOneLeft(t *testing.T) {
	w, store := withLayers(t)
	root := t.TempDir()
	first := w.node(t, root)
	r := mappable(t, root, "a")
	if err := first.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(store, linkedDir, volumetest.Driver)
	for _, name := range []string{strings.Repeat("b", 64) + newSuffix, strings.Repeat("a", 64) + newSuffix, strings.Repeat("c", 64), strings.Repeat("d", 64) + ".x" + removedSuffix} {
		if err := os.MkdirAll(filepath.Join(place, name, "dir"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n := w.node(t, root)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	usage, err := n.Usage(t.Context())
	if err != nil || usage.ReadOnly != 1 || usage.MountedWithoutPin != 0 {
		t.Errorf("usage %+v (%v)", usage, err)
	}
	if stats, err := n.Stats(t.Context(), r.VolumeID, r.Target); err != nil || stats.Bytes.Total != 3<<20 {
		t.Errorf("statistics %+v (%v)", stats, err)
	}
	delete(w.HasPin, linkedTree)
	later(t, n, time.Hour)
	if !w.HasPin[linkedTree] {
		t.Error("what a bind shows was not pinned again")
	}
	if left, err := os.ReadDir(place); err != nil || len(left) != 1 {
		t.Errorf("the store has %v (%v)", left, err)
	}
	if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
		t.Fatal(err)
	}
	if err := n.ReleaseUnused(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLinked(t, n, store)
	w.expectNothingLeft(t, n)
}

// givenUp publishes a volume until its form is being made, and gives up then. The making waits until goOn is called.
func (w *world) givenUp(t *testing.T, n *Node, root string) (goOn func()) {
	t.Helper()
	wait, begun := make(chan struct{}), make(chan struct{}, 1)
	w.OnOpen = func() {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-wait
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if err := n.Publish(ctx, mappable(t, root, "a")); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the next try waits") {
		t.Fatal(err)
	}
	return func() { close(wait) }
}

// The kubelet gives up after two minutes and calls again.
func TestAFormIsMadeToItsEndWhenItsCallerHasGivenUp(t *testing.T) {
	w, _ := withLayers(t)
	root := t.TempDir()
	n := w.node(t, root)
	goOn := w.givenUp(t, n, root)
	if err := n.ReleaseUnused(t.Context()); err != nil || !w.HasPin[linkedTree] {
		t.Errorf("the layers lost their pin while they are linked (%v)", err)
	}
	goOn()
	if err := n.Publish(t.Context(), mappable(t, root, "a")); err != nil {
		t.Errorf("the next try: %v", err)
	}
	w.ExpectWhole(t)
}

// A caller that found no tree may come when another one has just made it.
func TestAFormThatIsThereIsNotMadeAgain(t *testing.T) {
	w, _ := withLayers(t)
	n := w.node(t, t.TempDir())
	place, err := placeOf(imagestore.Tree{ID: linkedTree, Layers: w.Layers[linkedTree]})
	for range 2 {
		if err = errors.Join(err, n.makeLinked(t.Context(), place, linkedTree)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFormThatFailsLeavesNothing(t *testing.T) {
	w, store := withLayers(t)
	root := t.TempDir()
	n := w.node(t, root)
	if err := os.Rename(w.Layers[linkedTree][0], w.Layers[linkedTree][0]+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(w.Layers[linkedTree][1], w.Layers[linkedTree][1]+".away"); err != nil {
		t.Fatal(err)
	}
	if err := n.Publish(t.Context(), mappable(t, root, "a")); err == nil || len(w.Mounted) != 0 {
		t.Fatalf("%v, mounts %v", err, w.Mounted)
	}
	if err := n.ReleaseUnused(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLinked(t, n, store)
	w.expectNothingLeft(t, n)
}

func TestImagesThatCannotBeLinkedAreRefusedInOneSentence(t *testing.T) {
	for name, tree := range map[string]imagestore.Tree{
		"EROFS images":   {Layers: []string{"/s/1/layer.erofs"}, Form: hostmount.EROFS{}},
		"several stores": {Layers: []string{"/var/lib/a/overlay/1/diff", "/var/lib/b/overlay/2/diff"}},
	} {
		if _, err := placeOf(tree); !errors.Is(err, hostmount.ErrNotMappable) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	place, err := placeOf(imagestore.Tree{Layers: []string{"/var/lib/c/snapshots/2/fs", "/var/lib/c/snapshots/1/fs"}, Form: hostmount.Directories{}})
	if err != nil || place.store != "/var/lib/c" || place.layers[1] != "snapshots/1/fs" {
		t.Errorf("%+v (%v)", place, err)
	}
}

// A pod chooses the names of its own directories, and another driver's process looks after its own binds.
func TestOnlyABindAtAVolumesTargetNamesATree(t *testing.T) {
	w, _ := withLayers(t)
	n := w.node(t, "/var/lib/kubelet")
	hex := strings.Repeat("a", 64)
	target := volumetest.TargetOf("/var/lib/kubelet", "a")
	for _, c := range []struct {
		root, target string
		ours, others bool
	}{
		{"/lib/containerd/imagecsi/" + volumetest.Driver + "/" + hex, target, true, false},
		{"/imagecsi/" + volumetest.Driver + "/" + hex + "//deleted", target, true, false},
		{"/imagecsi/other.example/" + hex, target, false, true},
		{"/imagecsi/" + volumetest.Driver + "/" + hex + newSuffix, target, false, false},
		{"/imagecsi/" + volumetest.Driver + "/" + hex + "/sub", target, false, false},
		{"/x/imagecsi/" + volumetest.Driver + "/" + hex, "/var/lib/kubelet/pods/a/volume-subpaths/v/c/0", false, false},
	} {
		m := hostmount.Mount{Root: c.root, Target: c.target, Source: "/dev/sda", FSType: "ext4"}
		if tree, ours := n.treeOf(m); ours != c.ours || (ours && tree != linkedTree) || n.isOthers(m) != c.others {
			t.Errorf("%s at %s: tree %q, ours %t, others' %t", c.root, c.target, tree, ours, n.isOthers(m))
		}
	}
}
