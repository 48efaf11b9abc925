package legacy

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy/leftover"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

func TestWhatTheLegacyDriverMountedGoesWithItsPod(t *testing.T) {
	eachAccess(t, func(t *testing.T, writable bool) {
		w, root := newWorld(), t.TempDir()
		b := w.published(t, root, "a", writable)
		n := w.node(t, root)
		later(t, n, time.Hour)
		if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil {
			t.Fatal(err)
		}
		if _, kept := w.left[b.left.Name]; writable && kept {
			t.Error("the data of an unpublished volume is still there")
		}
		podGoes(t, root, "a")
		later(t, n, volume.DefaultReleaseAfter)
		w.expectNothingLeft(t, n)
		if counts := n.old.Counts(); counts.Removed != 1 || counts.Adopted != 0 {
			t.Errorf("counts %+v", counts)
		}
	})
}

func TestASharedViewStaysUntilItsLastTargetIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, root := newWorld(), t.TempDir()
		a := w.published(t, root, "a", false)
		b := w.published(t, root, "b", false)
		n := w.node(t, root)
		for _, p := range []published{a, b} {
			later(t, n, time.Hour)
			if len(w.left) != 1 {
				t.Fatal("the view went before its last target")
			}
			if err := n.Unpublish(t.Context(), p.request.VolumeID, p.request.Target); err != nil {
				t.Fatal(err)
			}
			podGoes(t, root, p.uid)
		}
		later(t, n, volume.DefaultReleaseAfter)
		w.expectNothingLeft(t, n)
	})
}

func TestAfterARebootWhatTheLegacyDriverLeftOfAPodThatIsGoneIsRemovedInTime(t *testing.T) {
	eachAccess(t, func(t *testing.T, writable bool) {
		w, root := newWorld(), t.TempDir()
		w.published(t, root, "a", writable)
		w.Reboot()
		podGoes(t, root, "a")
		n := w.node(t, root)
		grace := volume.DefaultReleaseAfter
		if writable {
			grace = volume.DefaultOrphanAfter
		}
		later(t, n, grace-time.Second)
		if counts := n.old.Counts(); len(w.left) != 1 || counts.Orphaned != 1 {
			t.Errorf("before the grace period ended: leftovers %v, counts %+v", w.left, counts)
		}
		later(t, n, grace)
		w.expectNothingLeft(t, n)
		if counts := n.old.Counts(); counts.Orphaned != 0 || counts.Removed != 1 {
			t.Errorf("counts %+v", counts)
		}
	})
}

func TestWhatCannotBeToldForCertainIsKeptAndCounted(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(l *leftover.Leftover)
	}{
		{"it names neither a target nor a volume", func(l *leftover.Leftover) { l.VolumeID = "" }},
		{"its directory is not known", func(l *leftover.Leftover) { l.Upper = "" }},
		{"its target is beneath another kubelet's root", func(l *leftover.Leftover) { l.Targets = []string{"/other/kubelet/pods/a/mount"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, root := newWorld(), t.TempDir()
				b := w.published(t, root, "a", true)
				c.change(&b.left)
				w.left[b.left.Name] = b.left
				w.Reboot()
				podGoes(t, root, "a")
				n := w.node(t, root)
				later(t, n, 24*time.Hour)
				if counts := n.old.Counts(); len(w.left) != 1 || counts.Orphaned != 1 {
					t.Errorf("leftovers %v, counts %+v", w.left, counts)
				}
			})
		})
	}
}

func TestDataThatIsMountedElsewhereOutlivesItsPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, root := newWorld(), t.TempDir()
		b := w.published(t, root, "a", true)
		elsewhere := w.Mounted[b.request.Target]
		elsewhere.Target = filepath.Join(root, "elsewhere")
		w.Mounted[elsewhere.Target] = elsewhere
		n := w.node(t, root)
		if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil {
			t.Fatal(err)
		}
		podGoes(t, root, "a")
		later(t, n, 24*time.Hour)
		if len(w.left) != 1 {
			t.Error("data was removed under a mount")
		}
		w.Reboot()
		later(t, n, volume.DefaultOrphanAfter)
		w.expectNothingLeft(t, n)
	})
}

// A process that is killed between two steps leaves what a failure of the step after leaves.
func TestAnUnpublishThatEndsInTheMiddleIsEndedByTheNextOrByASweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, step := range []string{"unmount", "leftovers", "remove leftover"} {
			for _, times := range []int{1, -1} {
				for _, again := range []bool{true, false} {
					w, root := newWorld(), t.TempDir()
					b := w.published(t, root, "a", true)
					n := w.node(t, root)
					w.Faults[step] = times
					_ = n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target)
					w.Faults = map[string]int{}
					n = w.node(t, root)
					if again {
						if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil {
							t.Fatal(err)
						}
					} else {
						delete(w.Mounted, b.request.Target)
						podGoes(t, root, "a")
						later(t, n, volume.DefaultOrphanAfter)
					}
					w.expectNothingLeft(t, n)
				}
			}
		}
	})
}

func TestARuntimeThatDoesNotAnswerKeepsNoPodFromGoing(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	b := w.published(t, root, "a", true)
	n := w.node(t, root)
	w.Faults["leftovers"] = 1
	if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil {
		t.Errorf("unpublish: %v", err)
	}
}

// hanging is a store whose runtime takes calls and does not answer them.
type hanging struct{ leftover.Store }

func (hanging) Leftovers(ctx context.Context) ([]leftover.Leftover, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestARuntimeThatHangsHoldsUpNoUnpublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, root := newWorld(), t.TempDir()
		b := w.published(t, root, "a", true)
		n := w.nodeWith(t, root, hanging{w})
		began := time.Now()
		if err := n.Unpublish(t.Context(), b.request.VolumeID, b.request.Target); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > dropPatience {
			t.Errorf("it took %s", took)
		}
		if len(w.Mounted) != 0 || len(w.left) != 1 {
			t.Errorf("mounts %v, leftovers %v", w.Mounted, w.left)
		}
	})
}

func TestThePodOfALeftoverMayComeBackUntilTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, root := newWorld(), t.TempDir()
		b := w.published(t, root, "static", true)
		request(t, root, "this-plugin", false)
		n := w.node(t, root)
		podGoes(t, root, "static")
		w.Reboot()
		if _, err := n.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.OnList = func() {
			request(t, root, "static", true)
			if err := n.Publish(t.Context(), b.request); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(volume.DefaultOrphanAfter)
		if _, err := n.Sweep(t.Context()); err != nil || len(w.left) != 1 || w.OnList != nil {
			t.Errorf("leftovers %v (%v)", w.left, err)
		}
		w.ExpectWhole(t)
	})
}
