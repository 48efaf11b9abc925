package volume

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

func TestWhatVolumesUseAndNothingPinsIsPinnedAgain(t *testing.T) {
	for name, use := range map[string]func(w *world, n *Node){
		"it is mounted":           func(*world, *Node) {},
		"data lies on it":         func(w *world, _ *Node) { w.Reboot() },
		"the data cannot be read": func(_ *world, n *Node) { _ = os.RemoveAll(n.data.root) },
	} {
		t.Run(name, func(t *testing.T) {
			w, root := newWorld(), t.TempDir()
			n := w.node(t, root)
			if err := n.Publish(t.Context(), request(t, root, "a", true)); err != nil {
				t.Fatal(err)
			}
			use(w, n)
			clear(w.HasPin)
			if _, err := n.sweep(t.Context(), time.Now(), n.releaseAfter); (err != nil) != (name == "the data cannot be read") {
				t.Errorf("the sweep: %v", err)
			}
			if usage, err := n.Usage(t.Context()); err != nil || usage.Repinned != 1 || usage.MountedWithoutPin != 0 || !w.HasPin["sha256:one"] {
				t.Errorf("pins %v, usage %+v (%v)", w.HasPin, usage, err)
			}
		})
	}
}

func TestAMountWhoseLayersAreGoneIsCountedAndItsPodNamedOnce(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	other := request(t, root, "b", false)
	other.Image = "r.example/app:2"
	if err := errors.Join(n.Publish(t.Context(), r), n.Publish(t.Context(), other)); err != nil {
		t.Fatal(err)
	}
	clear(w.HasPin)
	w.Lost["sha256:one"] = true
	var log strings.Builder
	n.log = slog.New(slog.NewTextHandler(&log, nil))
	for range 2 {
		if _, err := n.sweep(t.Context(), time.Now(), n.releaseAfter); err != nil {
			t.Fatal(err)
		}
	}
	if usage, err := n.Usage(t.Context()); err != nil || usage.MountedWithoutPin != 1 || usage.Repinned != 1 || !w.HasPin["sha256:two"] {
		t.Errorf("pins %v, usage %+v (%v)", w.HasPin, usage, err)
	}
	if said := log.String(); strings.Count(said, "delete their pods") != 1 || !strings.Contains(said, r.Target) {
		t.Errorf("log: %s", said)
	}
}

func TestNothingIsPinnedAgainThatIsOutOfUseOrBeingUnpinned(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	clear(w.HasPin)
	unlock, _ := n.trees.TryLock("sha256:one")
	if _, err := n.sweep(t.Context(), time.Now(), n.releaseAfter); err != nil || w.Count("repin") != 0 {
		t.Errorf("while an unpin is under way: calls %v (%v)", w.Calls, err)
	}
	unlock()
	n.store = pinsTold{w, func() {
		if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
			t.Error(err)
		}
	}}
	if _, err := n.sweep(t.Context(), time.Now(), n.releaseAfter); err != nil || w.Count("repin") != 0 {
		t.Errorf("when the volume is gone since the look: calls %v (%v)", w.Calls, err)
	}
}
