package legacy

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/kubeletpods"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume/volumetest"
)

func TestAVolumeThatTheLegacyDriverMountedIsNotMountedAgain(t *testing.T) {
	eachAccess(t, func(t *testing.T, writable bool) {
		w, root := newWorld(), t.TempDir()
		b := w.published(t, root, "a", writable)
		n := w.node(t, root)
		later(t, n, time.Hour)
		if err := n.Publish(t.Context(), b.request); err != nil {
			t.Fatal(err)
		}
		if len(w.HasPin) != 0 {
			t.Errorf("an image was pinned for nothing: %v", w.HasPin)
		}
		later(t, n, 24*time.Hour)
		if len(w.Mounted) != 1 || w.Mounted[b.request.Target].Source != overlaySource || len(w.left) != 1 {
			t.Errorf("mounts %v, leftovers %v", w.Mounted, w.left)
		}
		if n.hasData() {
			t.Error("the volume has data of this driver as well, which a reboot would show in place of the pod's")
		}
		if counts := n.old.Counts(); counts.Adopted != 1 || counts.Orphaned != 0 {
			t.Errorf("counts %+v", counts)
		}
	})
}

func TestAfterARebootAPodGetsTheDataBackThatTheLegacyDriverKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, root := newWorld(), t.TempDir()
		b := w.published(t, root, "a", true)
		older := b.left
		older.Name, older.Created, older.Upper = "active-of-another-release", b.left.Created.Add(-time.Hour), t.TempDir()
		w.left[older.Name] = older
		w.Reboot()
		n := w.node(t, root)
		later(t, n, 24*time.Hour)
		if len(w.left) != 2 {
			t.Fatalf("data of a pod that is there was removed; left are %v", w.left)
		}
		for range 2 {
			if err := n.Publish(t.Context(), b.request); err != nil {
				t.Fatal(err)
			}
		}
		if m := w.Mounted[b.request.Target]; m.Upper != b.left.Upper || m.ReadOnly || len(w.Mounted) != 1 {
			t.Errorf("the pod sees %+v instead of its data in %s", m, b.left.Upper)
		}
		if n.hasData() {
			t.Error("the volume has data of this driver as well")
		}
		if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil {
			t.Fatal(err)
		}
		w.expectNothingLeft(t, n)
	})
}

func TestAfterARebootAReadOnlyVolumeNeedsNothingOfTheLegacyDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, root := newWorld(), t.TempDir()
		b := w.published(t, root, "a", false)
		w.Reboot()
		n := w.node(t, root)
		later(t, n, 24*time.Hour)
		if len(w.left) != 1 {
			t.Fatal("the image's layers were let go while the pod waits for them")
		}
		if err := n.Publish(t.Context(), b.request); err != nil {
			t.Fatal(err)
		}
		later(t, n, volume.DefaultReleaseAfter)
		if len(w.left) != 0 || !w.HasPin["sha256:one"] || len(w.Mounted) != 1 {
			t.Errorf("leftovers %v, pins %v, mounts %v", w.left, w.HasPin, w.Mounted)
		}
	})
}

func TestDataOfThisDriverTakesPrecedenceOverTheLegacyDrivers(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	b := w.published(t, root, "a", true)
	w.Reboot()
	delete(w.left, b.left.Name)
	if err := w.node(t, root).Publish(t.Context(), b.request); err != nil {
		t.Fatal(err)
	}
	used := w.Mounted[b.request.Target].Upper
	w.left[b.left.Name] = b.left
	w.Reboot()
	if err := w.node(t, root).Publish(t.Context(), b.request); err != nil || used == "" || w.Mounted[b.request.Target].Upper != used {
		t.Errorf("the pod sees %+v instead of its data in %s (%v)", w.Mounted[b.request.Target], used, err)
	}
	w.ExpectWhole(t)
}

func TestAPersistentVolumeCannotNameAnotherPodsData(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	b := w.published(t, root, "victim", true)
	w.Reboot()
	n := w.node(t, root)
	thief := request(t, root, "thief", true)
	thief.VolumeID = b.request.VolumeID
	if err := n.Publish(t.Context(), thief); err != nil {
		t.Fatal(err)
	}
	if m := w.Mounted[thief.Target]; m.Upper == b.left.Upper {
		t.Error("a volume shows another pod's data")
	}
	if err := n.Unpublish(t.Context(), thief.VolumeID, thief.Target); err != nil {
		t.Fatal(err)
	}
	if len(w.left) != 1 {
		t.Error("a volume's end removed another pod's data")
	}
}

func TestDataThatOnlyTheLegacyDriverCanMountIsKeptAndTheErrorSaysSo(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	b := w.published(t, root, "a", true)
	b.left.Layers = nil
	w.left[b.left.Name] = b.left
	w.Reboot()
	n := w.node(t, root)
	if err := n.Publish(t.Context(), b.request); !errors.Is(err, ErrNotAdoptable) {
		t.Errorf("publish: %v", err)
	}
	if len(w.left) != 1 || len(w.Mounted) != 0 {
		t.Errorf("leftovers %v, mounts %v", w.left, w.Mounted)
	}
}

func TestDataOfTheLegacyDriverIsNotMountedWhileItIsBeingRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, root := newWorld(), t.TempDir()
		b := w.published(t, root, "static", true)
		n := w.node(t, root)
		resume := w.Stall()
		began := time.Now()
		if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil || time.Since(began) > dropPatience {
			t.Errorf("the unpublish took %s: %v", time.Since(began), err)
		}
		if err := n.Publish(volumetest.Within(t, time.Second), b.request); !errors.Is(err, context.DeadlineExceeded) || len(w.Mounted) != 0 {
			t.Errorf("a publish while the data may go: %v, mounts %v", err, w.Mounted)
		}
		resume()
		synctest.Wait()
		if err := n.Publish(volumetest.Within(t, time.Minute), b.request); err != nil || len(w.left) != 0 {
			t.Errorf("a publish afterwards: %v, leftovers %v", err, w.left)
		}
		w.ExpectWhole(t)
	})
}

func TestWithoutLeftoversNothingIsAskedOfTheRuntime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, root := newWorld(), t.TempDir()
		n := w.node(t, root)
		later(t, n, time.Minute)
		w.Calls = nil
		r := request(t, root, "a", true)
		r.VolumeID = kubeletpods.InlineVolumeID("a", "v")
		if err := n.Publish(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
			t.Fatal(err)
		}
		for _, call := range w.Calls {
			if call == "leftovers" {
				t.Errorf("calls: %v", w.Calls)
			}
		}
		w.Calls = nil
		later(t, n, lookEvery)
		if !slices.Contains(w.Calls, "leftovers") {
			t.Error("the legacy driver may have left something under its other name since, and the sweep did not look")
		}
	})
}

func TestARuntimeThatIsDownEndsNoVolumeOfTheLegacyDriver(t *testing.T) {
	eachAccess(t, func(t *testing.T, writable bool) {
		w, root := newWorld(), t.TempDir()
		b := w.published(t, root, "a", writable)
		n := w.node(t, root)
		w.Faults["leftovers"], w.Faults["ensure IfNotPresent"], w.Faults["pin"] = 9, 9, 9
		if err := n.Publish(t.Context(), b.request); err != nil {
			t.Error(err)
		}
	})
}

func TestAPublishedVolumeAsksNothingOfTheRuntime(t *testing.T) {
	eachAccess(t, func(t *testing.T, writable bool) {
		w, root := newWorld(), t.TempDir()
		n, r := w.node(t, root), request(t, root, "a", writable)
		if err := n.Publish(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		w.Calls = nil
		w.Faults["leftovers"], w.Faults["pin"], w.Faults["pinned"] = 1, 1, 1
		if err := n.Publish(t.Context(), r); err != nil || len(w.Calls) != 0 {
			t.Errorf("calls %q, %v", w.Calls, err)
		}
	})
}
