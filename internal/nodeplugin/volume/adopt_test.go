package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/kubeletpods"
)

// legacyVolume is what the legacy driver left of one volume of one pod.
type legacyVolume struct {
	world   *world
	request Request
	left    imagestore.Leftover
}

// legacyPublished returns the state that the legacy driver leaves of a published volume.
func legacyPublished(t *testing.T, w *world, root, uid string, writable bool) legacyVolume {
	t.Helper()
	r := request(t, root, uid, writable)
	if err := os.MkdirAll(filepath.Dir(r.Target), 0o755); err != nil {
		t.Fatal(err)
	}
	mount := hostmount.Mount{Target: r.Target, Source: overlaySource, FSType: "overlay", Root: "/", ReadOnly: !writable}
	left := imagestore.Leftover{Name: "view", Targets: []string{r.Target}}
	if writable {
		r.VolumeID = kubeletpods.InlineVolumeID(uid, "v")
		snapshot := t.TempDir()
		left = imagestore.Leftover{
			Name: "active-" + uid, VolumeID: r.VolumeID, Created: time.Now(), Layers: []string{"/layers/sha256:one"},
			Upper: filepath.Join(snapshot, "fs"), Work: filepath.Join(snapshot, "work"),
		}
		for _, dir := range []string{left.Upper, left.Work} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		mount.Upper = left.Upper
	}
	if shared, ok := w.left[left.Name]; ok {
		left.Targets = append(left.Targets, shared.Targets...)
	}
	w.left[left.Name] = left
	w.mounts[r.Target] = mount
	return legacyVolume{world: w, request: r, left: left}
}

// reboot takes the mounts away and leaves everything else.
func (w *world) reboot() { w.mounts = map[string]hostmount.Mount{} }

// podGoes removes what the kubelet does once a pod is gone. Its directory of pods is never empty.
func (b legacyVolume) podGoes(t *testing.T, root, uid string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "pods", "the-plugins-own"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "pods", uid)); err != nil {
		t.Fatal(err)
	}
}

// hasData reports whether a volume has data of this driver.
func (n *Node) hasData(r Request) bool {
	_, err := os.Lstat(string(n.data.directory(r.VolumeID, r.Target)))
	return err == nil
}

func eachAccess(t *testing.T, test func(t *testing.T, writable bool)) {
	for name, writable := range map[string]bool{"read-only": false, "writable": true} {
		t.Run(name, func(t *testing.T) { test(t, writable) })
	}
}

func TestAVolumeThatTheLegacyDriverMountedIsNotMountedAgain(t *testing.T) {
	eachAccess(t, func(t *testing.T, writable bool) {
		w, root := newWorld(), t.TempDir()
		b := legacyPublished(t, w, root, "a", writable)
		n := w.node(t, root)
		later(t, n, time.Hour)
		if err := n.Publish(t.Context(), b.request); err != nil {
			t.Fatal(err)
		}
		if len(w.pins) != 0 {
			t.Errorf("an image was pinned for nothing: %v", w.pins)
		}
		later(t, n, 24*time.Hour)
		if len(w.mounts) != 1 || w.mounts[b.request.Target].Source != overlaySource || len(w.left) != 1 {
			t.Errorf("mounts %v, leftovers %v", w.mounts, w.left)
		}
		if n.hasData(b.request) {
			t.Error("the volume has data of this driver as well, which a reboot would show in place of the pod's")
		}
		if usage, _ := n.Usage(t.Context()); usage.Adopted != 1 || usage.OrphanedLeftovers != 0 {
			t.Errorf("usage %+v", usage)
		}
	})
}

func TestWhatTheLegacyDriverMountedGoesWithItsPod(t *testing.T) {
	eachAccess(t, func(t *testing.T, writable bool) {
		w, root := newWorld(), t.TempDir()
		b := legacyPublished(t, w, root, "a", writable)
		n := w.node(t, root)
		later(t, n, time.Hour)
		if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil {
			t.Fatal(err)
		}
		if _, kept := w.left[b.left.Name]; writable && kept {
			t.Error("the data of an unpublished volume is still there")
		}
		b.podGoes(t, root, "a")
		later(t, n, DefaultReleaseAfter)
		w.expectNothingLeft(t, n)
		if usage, _ := n.Usage(t.Context()); usage.RemovedLeftovers != 1 || usage.Adopted != 0 {
			t.Errorf("usage %+v", usage)
		}
	})
}

func TestASharedViewStaysUntilItsLastTargetIsGone(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	a := legacyPublished(t, w, root, "a", false)
	b := legacyPublished(t, w, root, "b", false)
	n := w.node(t, root)
	for _, volume := range []legacyVolume{a, b} {
		later(t, n, time.Hour)
		if len(w.left) != 1 {
			t.Fatal("the view went before its last target")
		}
		if err := n.Unpublish(t.Context(), volume.request.VolumeID, volume.request.Target); err != nil {
			t.Fatal(err)
		}
		volume.podGoes(t, root, filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(volume.request.Target))))))
	}
	later(t, n, DefaultReleaseAfter)
	w.expectNothingLeft(t, n)
}

func TestAfterARebootAPodGetsTheDataBackThatTheLegacyDriverKept(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	b := legacyPublished(t, w, root, "a", true)
	older := b.left
	older.Name, older.Created, older.Upper = "active-of-another-release", b.left.Created.Add(-time.Hour), t.TempDir()
	w.left[older.Name] = older
	w.reboot()
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
	if m := w.mounts[b.request.Target]; m.Upper != b.left.Upper || m.ReadOnly || len(w.mounts) != 1 {
		t.Errorf("the pod sees %+v instead of its data in %s", m, b.left.Upper)
	}
	if n.hasData(b.request) {
		t.Error("the volume has data of this driver as well")
	}
	if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil {
		t.Fatal(err)
	}
	w.expectNothingLeft(t, n)
}

func TestAfterARebootAReadOnlyVolumeNeedsNothingOfTheLegacyDriver(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	b := legacyPublished(t, w, root, "a", false)
	w.reboot()
	n := w.node(t, root)
	later(t, n, 24*time.Hour)
	if len(w.left) != 1 {
		t.Fatal("the image's layers were let go while the pod waits for them")
	}
	if err := n.Publish(t.Context(), b.request); err != nil {
		t.Fatal(err)
	}
	later(t, n, DefaultReleaseAfter)
	if len(w.left) != 0 || !w.pins["sha256:one"] || len(w.mounts) != 1 {
		t.Errorf("leftovers %v, pins %v, mounts %v", w.left, w.pins, w.mounts)
	}
}

func TestAfterARebootWhatTheLegacyDriverLeftOfAPodThatIsGoneIsRemovedInTime(t *testing.T) {
	eachAccess(t, func(t *testing.T, writable bool) {
		w, root := newWorld(), t.TempDir()
		b := legacyPublished(t, w, root, "a", writable)
		w.reboot()
		b.podGoes(t, root, "a")
		n := w.node(t, root)
		grace := DefaultReleaseAfter
		if writable {
			grace = DefaultOrphanAfter
		}
		later(t, n, grace-time.Second)
		if usage, _ := n.Usage(t.Context()); len(w.left) != 1 || usage.OrphanedLeftovers != 1 {
			t.Errorf("before the grace period ended: leftovers %v, usage %+v", w.left, usage)
		}
		later(t, n, grace)
		w.expectNothingLeft(t, n)
		if usage, _ := n.Usage(t.Context()); usage.OrphanedLeftovers != 0 || usage.RemovedLeftovers != 1 {
			t.Errorf("usage %+v", usage)
		}
	})
}

func TestWhatCannotBeToldForCertainIsKeptAndCounted(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(l *imagestore.Leftover)
	}{
		{"it names neither a target nor a volume", func(l *imagestore.Leftover) { l.VolumeID = "" }},
		{"its directory is not known", func(l *imagestore.Leftover) { l.Upper = "" }},
		{"its target is beneath another kubelet's root", func(l *imagestore.Leftover) { l.Targets = []string{"/other/kubelet/pods/a/mount"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, root := newWorld(), t.TempDir()
			b := legacyPublished(t, w, root, "a", true)
			c.change(&b.left)
			w.left[b.left.Name] = b.left
			w.reboot()
			b.podGoes(t, root, "a")
			n := w.node(t, root)
			later(t, n, 24*time.Hour)
			if usage, _ := n.Usage(t.Context()); len(w.left) != 1 || usage.OrphanedLeftovers != 1 {
				t.Errorf("leftovers %v, usage %+v", w.left, usage)
			}
		})
	}
}

func TestDataThatIsMountedElsewhereOutlivesItsPod(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	b := legacyPublished(t, w, root, "a", true)
	elsewhere := w.mounts[b.request.Target]
	elsewhere.Target = filepath.Join(root, "elsewhere")
	w.mounts[elsewhere.Target] = elsewhere
	n := w.node(t, root)
	if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil {
		t.Fatal(err)
	}
	b.podGoes(t, root, "a")
	later(t, n, 24*time.Hour)
	if len(w.left) != 1 {
		t.Error("data was removed under a mount")
	}
	w.reboot()
	later(t, n, DefaultOrphanAfter)
	w.expectNothingLeft(t, n)
}

func TestAPersistentVolumeCannotNameAnotherPodsData(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	b := legacyPublished(t, w, root, "victim", true)
	w.reboot()
	n := w.node(t, root)
	thief := request(t, root, "thief", true)
	thief.VolumeID = b.request.VolumeID
	if err := n.Publish(t.Context(), thief); err != nil {
		t.Fatal(err)
	}
	if m := w.mounts[thief.Target]; m.Upper == b.left.Upper {
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
	b := legacyPublished(t, w, root, "a", true)
	b.left.Layers = nil
	w.left[b.left.Name] = b.left
	w.reboot()
	n := w.node(t, root)
	if err := n.Publish(t.Context(), b.request); !errors.Is(err, ErrNotAdoptable) {
		t.Errorf("publish: %v", err)
	}
	if len(w.left) != 1 || len(w.mounts) != 0 {
		t.Errorf("leftovers %v, mounts %v", w.left, w.mounts)
	}
}

// A process that is killed between two steps leaves what a failure of the step after leaves.
func TestAnUnpublishThatEndsInTheMiddleIsEndedByTheNextOrByASweep(t *testing.T) {
	for _, step := range []string{"unmount", "leftovers", "remove leftover"} {
		for _, times := range []int{1, -1} {
			for _, again := range []bool{true, false} {
				w, root := newWorld(), t.TempDir()
				b := legacyPublished(t, w, root, "a", true)
				n := w.node(t, root)
				w.faults[step] = times
				_ = n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target)
				w.faults = map[string]int{}
				n = w.node(t, root)
				if again {
					if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil {
						t.Fatal(err)
					}
				} else {
					delete(w.mounts, b.request.Target)
					b.podGoes(t, root, "a")
					later(t, n, DefaultOrphanAfter)
				}
				w.expectNothingLeft(t, n)
			}
		}
	}
}

func TestARuntimeThatDoesNotAnswerKeepsNoPodFromGoing(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	b := legacyPublished(t, w, root, "a", true)
	n := w.node(t, root)
	w.faults["leftovers"] = 1
	if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil {
		t.Errorf("unpublish: %v", err)
	}
}

// hanging is a store whose runtime takes calls and does not answer them.
type hanging struct{ imagestore.Adopter }

func (hanging) Leftovers(ctx context.Context) ([]imagestore.Leftover, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestARuntimeThatHangsHoldsUpNoUnpublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, root := newWorld(), t.TempDir()
		b := legacyPublished(t, w, root, "a", true)
		n := w.node(t, root)
		n.adoption.store = hanging{w}
		began := time.Now()
		if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > dropPatience {
			t.Errorf("it took %s", took)
		}
		if len(w.mounts) != 0 || len(w.left) != 1 {
			t.Errorf("mounts %v, leftovers %v", w.mounts, w.left)
		}
	})
}

func TestWithoutLeftoversNothingIsAskedOfTheRuntime(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n := w.node(t, root)
	later(t, n, time.Minute)
	w.calls = nil
	r := request(t, root, "a", true)
	r.VolumeID = kubeletpods.InlineVolumeID("a", "v")
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
		t.Fatal(err)
	}
	for _, call := range w.calls {
		if call == "leftovers" {
			t.Errorf("calls: %v", w.calls)
		}
	}
	w.calls = nil
	later(t, n, sweepEvery)
	if !slices.Contains(w.calls, "leftovers") {
		t.Error("the legacy driver may have left something under its other name since, and the sweep did not look")
	}
}

func TestDataOfTheLegacyDriverIsNotMountedWhileItIsBeingRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, root := newWorld(), t.TempDir()
		b := legacyPublished(t, w, root, "static", true)
		n := w.node(t, root)
		resume := w.stall()
		began := time.Now()
		if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil || time.Since(began) > dropPatience {
			t.Errorf("the unpublish took %s: %v", time.Since(began), err)
		}
		if err := n.Publish(within(t, time.Second), b.request); !errors.Is(err, context.DeadlineExceeded) || len(w.mounts) != 0 {
			t.Errorf("a publish while the data may go: %v, mounts %v", err, w.mounts)
		}
		resume()
		synctest.Wait()
		if err := n.Publish(within(t, time.Minute), b.request); err != nil || len(w.left) != 0 {
			t.Errorf("a publish afterwards: %v, leftovers %v", err, w.left)
		}
		w.expectWhole(t)
	})
}

func TestThePodOfALeftoverMayComeBackUntilTheLastMoment(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	b := legacyPublished(t, w, root, "static", true)
	request(t, root, "this-plugin", false)
	n := w.node(t, root)
	b.podGoes(t, root, "static")
	w.reboot()
	now := time.Now()
	if _, err := n.sweep(t.Context(), now, n.releaseAfter); err != nil {
		t.Fatal(err)
	}
	n.mounter = &listingTold{world: w, listed: func() {
		request(t, root, "static", true)
		if err := n.Publish(t.Context(), b.request); err != nil {
			t.Error(err)
		}
	}}
	if _, err := n.sweep(t.Context(), now.Add(DefaultOrphanAfter), n.releaseAfter); err != nil || len(w.left) != 1 {
		t.Errorf("leftovers %v (%v)", w.left, err)
	}
	w.expectWhole(t)
}
