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
)

func TestAReadOnlyVolumeLivesAndLeavesNothing(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	for range 2 {
		if err := n.Publish(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(w.calls[:3], ", "); got != "ensure IfNotPresent, pin, mount" {
		t.Errorf("order: %s", got)
	}
	m := w.mounts[r.Target]
	if m.Source != "imagecsi:"+driver+"@sha256:one" || !m.ReadOnly {
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
	w.mounts = map[string]hostmount.Mount{}
	n = w.node(t, root)
	later(t, n, 24*time.Hour)
	if !w.pins["sha256:one"] {
		t.Error("the image under a pod's data was released")
	}
	r.Policy = contract.PullAlways
	w.calls = nil
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if w.calls[0] != "pinned" {
		t.Errorf("a volume with data asked for a newer image: %v", w.calls)
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
		"the pin is lost":      func() { w.tags[r.Image] = "sha256:two"; clear(w.pins) },
		"the tag moved":        func() { w.tags[r.Image] = "sha256:two" },
		"the image is gone":    func() { delete(w.tags, r.Image) },
		"the registry is away": func() { w.faults["ensure IfNotPresent"] = 9 },
	} {
		w.mounts = map[string]hostmount.Mount{}
		change()
		if err := n.Publish(t.Context(), r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := w.mounts[r.Target].Source; got != "imagecsi:"+driver+"@sha256:one" {
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
	w.mounts = map[string]hostmount.Mount{}
	w.tags[r.Image] = "sha256:two"
	delete(w.pins, "sha256:one")
	w.lost["sha256:one"] = true
	err := n.Publish(t.Context(), r)
	if !errors.Is(err, ErrImageChanged) || !strings.Contains(err.Error(), "delete the pod") {
		t.Errorf("got %v", err)
	}
	if len(w.mounts) != 0 {
		t.Errorf("mounted %v", w.mounts)
	}
}

func TestARuntimeThatDoesNotAnswerIsNoReasonToLookForAnotherImage(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.mounts, w.calls = map[string]hostmount.Mount{}, nil
	w.faults["pinned"] = 1
	if err := n.Publish(t.Context(), r); !errors.Is(err, errInjected) {
		t.Errorf("got %v", err)
	}
	if got := strings.Join(w.calls, ", "); got != "pinned" {
		t.Errorf("calls: %s", got)
	}
}

func TestAPublishedVolumeCostsALookAtItsTargetWhateverItsImageAndItsPolicyAre(t *testing.T) {
	for name, become := range map[string]func(w *world, image string){
		"nothing":               func(*world, string) {},
		"the name is collected": func(w *world, image string) { delete(w.tags, image) },
		"the tag moves":         func(w *world, image string) { w.tags[image] = "sha256:two" },
		"the registry refuses": func(w *world, _ string) {
			w.faults["ensure Always"], w.faults["ensure IfNotPresent"], w.faults["ensure Never"] = 1, 1, 1
		},
		"the runtime is down": func(w *world, _ string) { w.faults["pin"], w.faults["pinned"], w.faults["leftovers"] = 1, 1, 1 },
		"the pin is gone":     func(w *world, _ string) { clear(w.pins) },
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
				w.calls = nil
				if err := n.Publish(t.Context(), r); err != nil || !slices.Equal(w.calls, []string{"mount at"}) {
					t.Errorf("%s, policy %s: calls %q, %v", name, policy, w.calls, err)
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
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, "mount at")
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
		w.calls = nil
		refusal := errors.New("not allowed")
		used.Refused, fresh.Refused = refusal, refusal
		if err := n.Publish(t.Context(), used); err != nil {
			t.Error("a published volume:", err)
		}
		if err := n.Publish(t.Context(), fresh); !errors.Is(err, refusal) {
			t.Error(err)
		}
		for _, call := range w.calls {
			if strings.HasPrefix(call, "ensure") || strings.HasPrefix(call, "pin") || call == "mount" {
				t.Error("a refused image led to", w.calls)
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

func TestAMountAtTheTargetCountsOnlyIfItMayBeTheVolume(t *testing.T) {
	const snapshot = "/io.containerd.snapshotter.v1.overlayfs/snapshots/12/fs"
	for name, c := range map[string]struct {
		mount   hostmount.Mount
		adopted bool
	}{
		"an overlay":                     {hostmount.Mount{Source: "overlay", FSType: "overlay", Root: "/"}, true},
		"a layer":                        {hostmount.Mount{Source: "/dev/sda1", FSType: "ext4", Root: "/var/lib/containerd" + snapshot}, true},
		"a layer in memory":              {hostmount.Mount{Source: "tmpfs", FSType: "tmpfs", Root: snapshot}, true},
		"a layer that was removed":       {hostmount.Mount{Source: "/dev/sda1", FSType: "xfs", Root: snapshot + "//deleted"}, true},
		"a native snapshot":              {hostmount.Mount{Source: "overlay", FSType: "overlay", Root: "/var/lib/containerd/io.containerd.snapshotter.v1.native/snapshots/7"}, true},
		"a btrfs snapshot":               {hostmount.Mount{Source: "/dev/sda1", FSType: "btrfs", Root: "/io.containerd.snapshotter.v1.btrfs/active/3"}, true},
		"a device":                       {hostmount.Mount{Source: "/dev/mapper/pool-snap-9", FSType: "ext4", Root: "/"}, true},
		"an overlay of a mount program":  {hostmount.Mount{Source: "fuse-overlayfs", FSType: "fuse.fuse-overlayfs", Root: "/"}, true},
		"a file system in memory":        {hostmount.Mount{Source: "tmpfs", FSType: "tmpfs", Root: "/"}, false},
		"a directory of the node":        {hostmount.Mount{Source: "/dev/sda1", FSType: "ext4", Root: "/etc"}, false},
		"this driver under another name": {hostmount.Mount{Source: "imagecsi:other.example@sha256:one", FSType: "overlay", Root: "/"}, true},
	} {
		for _, looked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, leftovers looked for: %v", name, looked), func(t *testing.T) {
				w, root := newWorld(), t.TempDir()
				n, r := w.node(t, root), request(t, root, "a", true)
				if looked {
					later(t, n, 0)
				}
				c.mount.Target = r.Target
				w.mounts[r.Target] = c.mount
				err := n.Publish(t.Context(), r)
				if c.adopted && err != nil || !c.adopted && !errors.Is(err, hostmount.ErrOccupied) {
					t.Errorf("publish: %v", err)
				}
				if w.mounts[r.Target] != c.mount {
					t.Error("the mount was replaced")
				}
				if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
					t.Fatal(err)
				}
				later(t, n, DefaultReleaseAfter)
				w.expectNothingLeft(t, n)
			})
		}
	}
}

func TestARuntimeThatIsDownEndsNoVolumeOfTheLegacyDriver(t *testing.T) {
	eachAccess(t, func(t *testing.T, writable bool) {
		w, root := newWorld(), t.TempDir()
		b := legacyPublished(t, w, root, "a", writable)
		n := w.node(t, root)
		w.faults["leftovers"], w.faults["ensure IfNotPresent"], w.faults["pin"] = 9, 9, 9
		if err := n.Publish(t.Context(), b.request); err != nil {
			t.Error(err)
		}
	})
}

func TestWithoutALegacyDriverNoForeignMountIsAVolume(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	n.adoption.store = nil
	w.mounts[r.Target] = hostmount.Mount{Target: r.Target, Source: "overlay", FSType: "overlay", Root: "/"}
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
				w.faults[step] = count
				untilDone(t, step, func() error { return n.Publish(t.Context(), r) })
				if _, ok := w.mounts[r.Target]; !ok {
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
		if !errors.Is(err, errInjected) {
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
	w.faults["unmount"] = 1
	if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); !errors.Is(err, errInjected) {
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
		w.calls = nil
		if err := n.Publish(t.Context(), request(t, root, uid, false)); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(w.calls, ", "); got != "ensure IfNotPresent, mount" {
		t.Errorf("the second volume's calls: %s", got)
	}
}

func TestOnlyAnImageThatWasFoundIsSaidToBeHeld(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	for _, found := range []bool{true, false} {
		if !found {
			delete(w.tags, r.Image)
		}
		if err := n.Publish(t.Context(), r); (err == nil) != found || w.held != found {
			t.Errorf("found %v: passed on as held %v, %v", found, w.held, err)
		}
		w.mounts = map[string]hostmount.Mount{}
	}
	w.tags[r.Image], r.Policy = "sha256:one", contract.PullAlways
	w.shown = nil
	if err := n.Publish(t.Context(), r); err != nil || w.shown[0] != "" {
		t.Errorf("to be pulled always: passed on as held %q, %v", w.shown, err)
	}
}

// If a tag moves between the look at an image and its pin, another image is pinned, so access is checked once more.
func TestWhatIsPinnedIsWhatTheCallerWasShownToHave(t *testing.T) {
	for _, policy := range []contract.PullPolicy{contract.PullIfNotPresent, contract.PullAlways, contract.PullNever} {
		w, root := newWorld(), t.TempDir()
		n, r := w.node(t, root), request(t, root, "a", false)
		r.Policy = policy
		w.onEnsure = func() { n.unpins.Add(1); w.tags[r.Image] = "sha256:moved" }
		if err := n.Publish(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if last := w.shown[len(w.shown)-1]; len(w.shown) != 2 || last != digestOf("sha256:moved") {
			t.Errorf("%s: asked for %q", policy, w.shown)
		}

		refusing := newWorld()
		n, r = refusing.node(t, root), request(t, root, "b", false)
		r.Policy = policy
		refusing.onEnsure = func() {
			n.unpins.Add(1)
			refusing.tags[r.Image] = "sha256:moved"
			if len(refusing.shown) == 1 {
				refusing.faults["ensure IfNotPresent"], refusing.faults["ensure Never"] = 1, 1
			}
		}
		if err := n.Publish(t.Context(), r); !errors.Is(err, errInjected) || len(refusing.mounts) != 0 {
			t.Errorf("%s: %v, mounts %v", policy, err, refusing.mounts)
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
