package volume

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/liveview"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume/volumetest"
)

func TestTheLiveViewHasEachVolumeOnceWithItsImage(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, since := w.node(t, root), time.Date(2026, 11, 1, 9, 30, 0, 0, time.UTC)
	for uid, writable := range map[string]bool{"a": false, "b": false, "c": true} {
		r := request(t, root, uid, writable)
		if writable {
			r.SizeLimit = 1 << 20
		}
		if err := n.Publish(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if uid != "b" { // of which nobody knows since when
			above := filepath.Dir(r.Target)
			if err := errors.Join(os.MkdirAll(above, 0o755), os.Chtimes(above, since, since)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for target, mount := range maps.Clone(w.Mounted) {
		again := mount // as a node plugin on CRI-O sees it beneath its own root
		again.Target = "/var/lib/containers/storage/overlay/0/merged" + target
		w.Mounted[again.Target] = again
	}
	volumes, err := n.ListVolumes(t.Context())
	if err != nil || len(volumes) != 3 {
		t.Fatalf("%+v, %v", volumes, err)
	}
	slices.SortFunc(volumes, func(a, b liveview.Volume) int { return strings.Compare(a.Pod, b.Pod) })
	tree := w.Tags["r.example/app:1"]
	used, limit := int64(1), int64(1<<20)
	for i, want := range []liveview.Volume{
		{Pod: "a", Access: "ReadOnly", Storage: liveview.StorageImage},
		{Pod: "b", Access: "ReadOnly", Storage: liveview.StorageImage},
		{Pod: "c", Access: "ReadWrite", Storage: liveview.StorageDisk, UsedBytes: &used, LimitBytes: &limit},
	} {
		got := volumes[i]
		if got.Pod != want.Pod || got.Access != want.Access || got.Storage != want.Storage || got.Name != filepath.Base(filepath.Dir(volumetest.TargetOf(root, "a"))) ||
			got.Tree != tree || got.Image != "r.example/app:1" || got.Digest != volumetest.DigestOf(tree) || got.Form != string(contract.FormOverlay) {
			t.Errorf("%+v, want %+v", got, want)
		}
		if (got.LimitBytes == nil) != (want.LimitBytes == nil) || want.LimitBytes != nil && (*got.LimitBytes != limit || *got.UsedBytes != used) {
			t.Errorf("%s: use %v of %v", got.Pod, got.UsedBytes, got.LimitBytes)
		}
		if known := got.Since != nil && got.Since.Equal(since); known != (got.Pod != "b") {
			t.Errorf("%s: since %v", got.Pod, got.Since)
		}
	}
	images, err := n.ListImages(t.Context())
	if err != nil || len(images) != 1 || images[0].Volumes != 3 || len(images[0].Users) != 3 || images[0].Pin != liveview.PinHeld || *images[0].SizeBytes != 3<<20 {
		t.Errorf("%+v, %v", images, err)
	}
	w.HasPin = map[string]bool{}
	if images, err = n.ListImages(t.Context()); err != nil || len(images) != 1 || images[0].Pin != liveview.PinMissing || images[0].Tree != tree {
		t.Errorf("without a pin: %+v, %v", images, err)
	}
}

// An image is unused since the sweep that found it so, until a volume shows it again.
func TestTheLiveViewTellsSinceWhenAnImageIsUnused(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	unused := func(when string, want *time.Time) {
		t.Helper()
		images, err := n.ListImages(t.Context())
		if err != nil || len(images) != 1 {
			t.Fatalf("%s: %+v, %v", when, images, err)
		}
		if got := images[0].UnusedSince; (got == nil) != (want == nil) || want != nil && !got.Equal(*want) {
			t.Errorf("%s: unused since %v, want %v", when, got, want)
		}
	}
	sweep := func(at time.Time) {
		t.Helper()
		if _, err := n.sweep(t.Context(), at, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().Truncate(time.Second)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	sweep(now)
	unused("in use", nil)
	if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
		t.Fatal(err)
	}
	unused("before a sweep", nil)
	sweep(now.Add(time.Second))
	first := now.Add(time.Second)
	sweep(now.Add(time.Minute))
	unused("after two sweeps", &first)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	unused("in use again", nil)
}

func TestTheLiveViewNamesWhatIsLeftOver(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := n.ListOrphans(); len(got) != 0 {
		t.Errorf("before a sweep: %+v", got)
	}
	w.Reboot()
	if err := os.RemoveAll(filepath.Join(root, "pods/a")); err != nil {
		t.Fatal(err)
	}
	request(t, root, "other", false) // a node without pods is not what it seems
	damaged := strings.Repeat("d", 64)
	if err := os.MkdirAll(filepath.Join(n.data.root, damaged), 0o700); err != nil {
		t.Fatal(err)
	}
	_, _ = n.sweep(t.Context(), time.Now(), n.releaseAfter) // with an error about the damaged one
	got := n.ListOrphans()
	if len(got) != 2 || got[0].Kind != liveview.OrphanData || got[0].Pod != "a" || *got[0].RemovedIn < 500 ||
		got[1].Kind != liveview.OrphanUnknown || got[1].Name != damaged || got[1].RemovedIn != nil {
		t.Errorf("%+v", got)
	}
}

// A sweep holds its lock for as long as the runtime and the disk take, and publishes hold theirs.
func TestTheLiveViewWaitsForNoLock(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	n.sweeping.Lock()
	defer n.sweeping.Unlock()
	n.removing.Lock()
	defer n.removing.Unlock()
	unlock, _ := n.targets.TryLock(r.Target)
	defer unlock()
	free, _ := n.trees.TryLock(w.Tags[r.Image])
	defer free()
	ended := make(chan error, 1)
	go func() {
		_, err := n.ListImages(t.Context())
		_ = n.ListOrphans()
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for a lock")
	}
}
