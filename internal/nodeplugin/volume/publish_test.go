package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume/volumetest"
)

func TestAReadOnlyVolumeLivesAndLeavesNothing(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	for range 2 {
		if err := n.Publish(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(w.Calls[:3], ", "); got != "ensure IfNotPresent, pin, mount" {
		t.Errorf("order: %s", got)
	}
	m := w.Mounted[r.Target]
	if m.Source != "imagecsi:"+volumetest.Driver+"@sha256:one" || !m.ReadOnly {
		t.Errorf("mount %+v", m)
	}
	if left, _ := os.ReadDir(n.data.root); len(left) != 0 {
		t.Errorf("a read-only volume has data: %v", left)
	}
	for range 2 {
		if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
			t.Fatal(err)
		}
	}
	later(t, n, DefaultReleaseAfter)
	w.expectNothingLeft(t, n)
}

func TestAWritableVolumesDataLivesAsLongAsThePod(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	dir := directory(filepath.Join(n.data.root, directoryName(r.VolumeID, r.Target)))
	written := filepath.Join(dir.upper(), "file")
	if err := os.WriteFile(written, []byte("data"), 0o644); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir.upper()); err != nil || info.Mode() != os.ModeDir|os.ModeSetgid|0o751 {
		t.Errorf("upper: %v, %v; want the mode of the image's root directory, writable for its owner", info.Mode(), err)
	}

	// The node restarts: mounts are gone, a new process finds the rest, and the kubelet publishes again.
	w.Mounted = map[string]hostmount.Mount{}
	n = w.node(t, root)
	later(t, n, 24*time.Hour)
	if !w.HasPin["sha256:one"] {
		t.Error("the image under a pod's data was released")
	}
	r.Policy = contract.PullAlways
	w.Calls = nil
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if w.Calls[0] != "pinned" {
		t.Errorf("a volume with data asked for a newer image: %v", w.Calls)
	}
	if _, err := os.Stat(written); err != nil {
		t.Errorf("the pod's data: %v", err)
	}

	if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
		t.Fatal(err)
	}
	later(t, n, DefaultReleaseAfter)
	w.expectNothingLeft(t, n)
}

func TestTheGroupOfAPodGetsTheRootOfANewVolume(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	group := uint32(os.Getgid())
	if os.Geteuid() == 0 {
		group = 2000
	}
	r.Group = &group
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(n.data.directory(r.VolumeID, r.Target).upper())
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Sys().(*syscall.Stat_t).Gid; got != group || info.Mode() != os.ModeDir|os.ModeSetgid|0o771 {
		t.Errorf("group %d, mode %s", got, info.Mode())
	}
}

func TestDataStaysOnItsImageWhateverTheNameStandsForNow(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(){
		"the pin is lost":      func() { w.Tags[r.Image] = "sha256:two"; clear(w.HasPin) },
		"the tag moved":        func() { w.Tags[r.Image] = "sha256:two" },
		"the image is gone":    func() { delete(w.Tags, r.Image) },
		"the registry is away": func() { w.Faults["ensure IfNotPresent"] = 9 },
	} {
		w.Mounted = map[string]hostmount.Mount{}
		change()
		if err := n.Publish(t.Context(), r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := w.Mounted[r.Target].Source; got != "imagecsi:"+volumetest.Driver+"@sha256:one" {
			t.Errorf("%s: mounted %s", name, got)
		}
	}
}

func TestDataIsNeverShownOnAnotherImage(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.Mounted = map[string]hostmount.Mount{}
	w.Tags[r.Image] = "sha256:two"
	delete(w.HasPin, "sha256:one")
	w.Lost["sha256:one"] = true
	err := n.Publish(t.Context(), r)
	if !errors.Is(err, ErrImageChanged) || !strings.Contains(err.Error(), "delete the pod") {
		t.Errorf("got %v", err)
	}
	if len(w.Mounted) != 0 {
		t.Errorf("mounted %v", w.Mounted)
	}
}

func TestARuntimeThatDoesNotAnswerIsNoReasonToLookForAnotherImage(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.Mounted, w.Calls = map[string]hostmount.Mount{}, nil
	w.Faults["pinned"] = 1
	if err := n.Publish(t.Context(), r); !errors.Is(err, volumetest.ErrInjected) {
		t.Errorf("got %v", err)
	}
	if got := strings.Join(w.Calls, ", "); got != "pinned" {
		t.Errorf("calls: %s", got)
	}
}

func TestAPublishedVolumeCostsALookAtItsTargetWhateverItsImageAndItsPolicyAre(t *testing.T) {
	for name, become := range map[string]func(w *world, image string){
		"nothing":               func(*world, string) {},
		"the name is collected": func(w *world, image string) { delete(w.Tags, image) },
		"the tag moves":         func(w *world, image string) { w.Tags[image] = "sha256:two" },
		"the registry refuses": func(w *world, _ string) {
			w.Faults["ensure Always"], w.Faults["ensure IfNotPresent"], w.Faults["ensure Never"] = 1, 1, 1
		},
		"the runtime is down": func(w *world, _ string) { w.Faults["pin"], w.Faults["pinned"] = 1, 1 },
		"the pin is gone":     func(w *world, _ string) { clear(w.HasPin) },
	} {
		for _, policy := range []contract.PullPolicy{contract.PullAlways, contract.PullIfNotPresent, contract.PullNever} {
			eachAccess(t, func(t *testing.T, writable bool) {
				w, root := newWorld(), t.TempDir()
				n, r := w.node(t, root), request(t, root, "a", writable)
				n.mounter = lookingWorld{w}
				r.Policy = policy
				if err := n.Publish(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				become(w, r.Image)
				w.Calls = nil
				if err := n.Publish(t.Context(), r); err != nil || !slices.Equal(w.Calls, []string{"mount at"}) {
					t.Errorf("%s, policy %s: calls %q, %v", name, policy, w.Calls, err)
				}
			})
		}
	}
}

// lookingWorld finds the mount at one target, as the mount engine does.
type lookingWorld struct{ *world }

func (w lookingWorld) MountAt(ctx context.Context, target string) (*hostmount.Mount, error) {
	stat, err := w.Stat(ctx, target)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Calls = append(w.Calls, "mount at")
	return stat.Mount, err
}

// A rule that comes later ends no volume that pods use, and nothing is asked for that a rule forbids.
func TestARefusedImageIsNeitherPulledNorTakenFromAPod(t *testing.T) {
	for _, writable := range []bool{false, true} {
		w, root := newWorld(), t.TempDir()
		n := w.node(t, root)
		used, fresh := request(t, root, "a", writable), request(t, root, "b", writable)
		if err := n.Publish(t.Context(), used); err != nil {
			t.Fatal(err)
		}
		w.Calls = nil
		refusal := errors.New("not allowed")
		used.Refused, fresh.Refused = refusal, refusal
		if err := n.Publish(t.Context(), used); err != nil {
			t.Error("a published volume:", err)
		}
		if err := n.Publish(t.Context(), fresh); !errors.Is(err, refusal) {
			t.Error(err)
		}
		for _, call := range w.Calls {
			if strings.HasPrefix(call, "ensure") || strings.HasPrefix(call, "pin") || call == "mount" {
				t.Error("a refused image led to", w.Calls)
			}
		}
		if err := n.Unpublish(t.Context(), used.VolumeID, used.Target); err != nil {
			t.Error(err)
		}
	}
}

func TestOtherAccessIsRefused(t *testing.T) {
	for _, writable := range []bool{false, true} {
		w, root := newWorld(), t.TempDir()
		n, r := w.node(t, root), request(t, root, "a", writable)
		if err := n.Publish(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		r.Writable = !writable
		if err := n.Publish(t.Context(), r); !errors.Is(err, ErrOtherAccess) {
			t.Errorf("writable %v: %v", r.Writable, err)
		}
	}
}

func TestAMountOfThisDriverUnderAnotherNameCountsAsTheVolume(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	mount := hostmount.Mount{Target: r.Target, Source: "imagecsi:other.example@sha256:one", FSType: "overlay", Root: "/"}
	w.Mounted[r.Target] = mount
	if err := n.Publish(t.Context(), r); err != nil || w.Mounted[r.Target] != mount {
		t.Errorf("mounts %v (%v)", w.Mounted, err)
	}
	if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
		t.Fatal(err)
	}
	later(t, n, DefaultReleaseAfter)
	w.expectNothingLeft(t, n)
}

func TestWithoutALegacyDriverNoForeignMountIsAVolume(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	w.Mounted[r.Target] = hostmount.Mount{Target: r.Target, Source: "overlay", FSType: "overlay", Root: "/"}
	err := n.Publish(t.Context(), r)
	if !errors.Is(err, hostmount.ErrOccupied) || !strings.Contains(err.Error(), "delete the pod") {
		t.Errorf("got %v", err)
	}
}

func TestUnpublishTouchesNoOtherVolumesData(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n := w.node(t, root)
	mine, other := request(t, root, "a", true), request(t, root, "b", false)
	if err := n.Publish(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	// A PersistentVolume may carry any handle, that of another pod's inline volume too.
	if err := n.Unpublish(t.Context(), mine.VolumeID, other.Target); err != nil {
		t.Fatal(err)
	}
	if !n.data.exists(mine) {
		t.Error("another pod's data is gone")
	}
}

func TestEveryStepMayFailBeforeOrAfterItsEffect(t *testing.T) {
	for _, step := range []string{"ensure IfNotPresent", "pin", "mount", "unmount", "unpin"} {
		for _, count := range []int{1, -1} {
			for _, writable := range []bool{false, true} {
				w, root := newWorld(), t.TempDir()
				n, r := w.node(t, root), request(t, root, "a", writable)
				w.Faults[step] = count
				untilDone(t, step, func() error { return n.Publish(t.Context(), r) })
				if _, ok := w.Mounted[r.Target]; !ok {
					t.Fatalf("fault in %s: nothing is mounted", step)
				}
				n = w.node(t, root) // the process was killed
				untilDone(t, step, func() error { return n.Unpublish(t.Context(), r.VolumeID, r.Target) })
				n = w.node(t, root)
				_, _ = n.sweep(t.Context(), time.Now(), n.releaseAfter)
				_, _ = n.sweep(t.Context(), time.Now().Add(time.Hour), n.releaseAfter)
				later(t, n, 2*time.Hour)
				w.expectNothingLeft(t, n)
			}
		}
	}
}

// untilDone tries as the kubelet does; an injected fault may fail one try.
func untilDone(t *testing.T, step string, call func() error) {
	t.Helper()
	for range 2 {
		err := call()
		if err == nil {
			return
		}
		if !errors.Is(err, volumetest.ErrInjected) {
			t.Fatalf("fault in %s: %v", step, err)
		}
	}
	t.Fatalf("fault in %s: the second try failed too", step)
}

func TestABusyVolumeKeepsItsData(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.Faults["unmount"] = 1
	if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); !errors.Is(err, volumetest.ErrInjected) {
		t.Fatalf("got %v", err)
	}
	if !n.data.exists(r) {
		t.Error("data was removed under a mount")
	}
}

func TestAnImageThatIsPinnedIsNotPinnedAgain(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n := w.node(t, root)
	for _, uid := range []string{"a", "b"} {
		w.Calls = nil
		if err := n.Publish(t.Context(), request(t, root, uid, false)); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(w.Calls, ", "); got != "ensure IfNotPresent, mount" {
		t.Errorf("the second volume's calls: %s", got)
	}
}

func TestOnlyAnImageThatWasFoundIsSaidToBeHeld(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	for _, found := range []bool{true, false} {
		if !found {
			delete(w.Tags, r.Image)
		}
		if err := n.Publish(t.Context(), r); (err == nil) != found || w.Held != found {
			t.Errorf("found %v: passed on as held %v, %v", found, w.Held, err)
		}
		w.Mounted = map[string]hostmount.Mount{}
	}
	w.Tags[r.Image], r.Policy = "sha256:one", contract.PullAlways
	w.Shown = nil
	if err := n.Publish(t.Context(), r); err != nil || w.Shown[0] != "" {
		t.Errorf("to be pulled always: passed on as held %q, %v", w.Shown, err)
	}
}

// If a tag moves between the look at an image and its pin, another image is pinned, so access is checked once more.
func TestWhatIsPinnedIsWhatTheCallerWasShownToHave(t *testing.T) {
	for _, policy := range []contract.PullPolicy{contract.PullIfNotPresent, contract.PullAlways, contract.PullNever} {
		w, root := newWorld(), t.TempDir()
		n, r := w.node(t, root), request(t, root, "a", false)
		r.Policy = policy
		w.OnEnsure = func() { n.unpins.Add(1); w.Tags[r.Image] = "sha256:moved" }
		if err := n.Publish(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if last := w.Shown[len(w.Shown)-1]; len(w.Shown) != 2 || last != volumetest.DigestOf("sha256:moved") {
			t.Errorf("%s: asked for %q", policy, w.Shown)
		}

		refusing := newWorld()
		n, r = refusing.node(t, root), request(t, root, "b", false)
		r.Policy = policy
		refusing.OnEnsure = func() {
			n.unpins.Add(1)
			refusing.Tags[r.Image] = "sha256:moved"
			if len(refusing.Shown) == 1 {
				refusing.Faults["ensure IfNotPresent"], refusing.Faults["ensure Never"] = 1, 1
			}
		}
		if err := n.Publish(t.Context(), r); !errors.Is(err, volumetest.ErrInjected) || len(refusing.Mounted) != 0 {
			t.Errorf("%s: %v, mounts %v", policy, err, refusing.Mounted)
		}
	}
}

func TestACallMakesADirectoryAlone(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	unlock, err := n.creating.Lock(t.Context(), directoryName(r.VolumeID, r.Target)+newSuffix) // as a clean-up does
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := n.Publish(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	unlock()
	if err := n.Publish(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// refusing is a store that takes no image.
type refusing struct{ *world }

func (refusing) Pin(_ context.Context, reference string) (imagestore.Tree, error) {
	return imagestore.Tree{}, fmt.Errorf("pinning image %s: %w", reference, imagestore.Refused(reference, fmt.Errorf("%w: it has no layers", imagestore.ErrUnsupported)))
}

func (refusing) Find(context.Context, string) (imagestore.PinFunc, string) { return nil, "" }

func TestAnImageThatCannotBeMountedIsRefusedInOneSentence(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	n.store = refusing{w}
	err := n.Publish(t.Context(), r)
	if !errors.Is(err, imagestore.ErrUnsupported) || err.Error() != "image "+r.Image+" cannot be mounted: it has no layers" {
		t.Errorf("got %v", err)
	}
}
