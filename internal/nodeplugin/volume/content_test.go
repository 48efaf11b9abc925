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
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/content"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume/volumetest"
)

var setIDFiles = []contract.ImageContent{contract.ContentSetIDFiles}

// withSetUID gives a tree a set-uid file.
func withSetUID(t *testing.T, w *world, tree string) {
	t.Helper()
	w.Trees[tree] = t.TempDir()
	file := filepath.Join(w.Trees[tree], "su")
	if err := errors.Join(os.WriteFile(file, nil, 0o755), os.Chmod(file, os.ModeSetuid|0o755)); err != nil {
		t.Fatal(err)
	}
}

func TestATreeThatHoldsWhatIsRefusedIsNotMountedAndLeavesNothing(t *testing.T) {
	eachAccess(t, func(t *testing.T, writable bool) {
		w, root := newWorld(), t.TempDir()
		withSetUID(t, w, "sha256:one")
		n, r := w.node(t, root), request(t, root, "a", writable)
		r.RefusedContent = setIDFiles
		for range 3 {
			err := n.Publish(t.Context(), r)
			if !errors.Is(err, content.ErrRefused) || !strings.HasPrefix(err.Error(), `image r.example/app:1 may not be a volume: it holds a set-uid or set-gid file, "/su", and `) {
				t.Error(err)
			}
		}
		if w.Count("mount") != 0 || w.Count("open") != 1 {
			t.Errorf("calls: %q", w.Calls)
		}
		later(t, n, DefaultReleaseAfter)
		w.expectNothingLeft(t, n)
	})
}

func TestAnotherTreeIsMountedAndLookedAtOnce(t *testing.T) {
	eachAccess(t, func(t *testing.T, writable bool) {
		w, root := newWorld(), t.TempDir()
		w.Trees["sha256:one"] = t.TempDir()
		n := w.node(t, root)
		for _, pod := range []string{"a", "b"} {
			r := request(t, root, pod, writable)
			r.RefusedContent = setIDFiles
			if err := n.Publish(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if w.Count("open") != 1 || len(w.Mounted) != 2 {
			t.Errorf("%d opens, %d mounts", w.Count("open"), len(w.Mounted))
		}
		w.ExpectWhole(t)
	})
}

// A rule may come while a volume is in use. Nothing is unmounted: the pod ends as ever, and the next mount is refused, as after a
// reboot or in a new pod.
func TestARuleThatComesLaterHoldsFromTheNextMountOn(t *testing.T) {
	eachAccess(t, func(t *testing.T, writable bool) {
		w, root := newWorld(), t.TempDir()
		withSetUID(t, w, "sha256:one")
		n, r := w.node(t, root), request(t, root, "a", writable)
		if err := n.Publish(t.Context(), r); err != nil || w.Count("open") != 0 {
			t.Fatalf("%v, calls %q", err, w.Calls)
		}
		r.RefusedContent = setIDFiles
		for _, n := range []*Node{n, w.node(t, root)} { // and one after a restart of the process
			if err := n.Publish(t.Context(), r); err != nil || len(w.Mounted) != 1 {
				t.Errorf("published again: %v, %d mounts", err, len(w.Mounted))
			}
		}
		w.Reboot()
		n = w.node(t, root)
		if err := n.Publish(t.Context(), r); !errors.Is(err, content.ErrRefused) || len(w.Mounted) != 0 {
			t.Errorf("after a reboot: %v, %d mounts", err, len(w.Mounted))
		}
		if writable != n.data.exists(r) {
			t.Error("what the pod wrote is there: ", !writable)
		}
		if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
			t.Fatal(err)
		}
		later(t, n, DefaultReleaseAfter)
		w.expectNothingLeft(t, n)
	})
}

// Nothing unpins a tree while it is looked through, or its directories would seem empty, and the answer would be remembered.
func TestATreeStaysPinnedWhileItIsLookedThrough(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	withSetUID(t, w, "sha256:one")
	looking, goOn := make(chan struct{}), make(chan struct{})
	w.OnOpen = func() {
		close(looking)
		<-goOn
	}
	n, r := w.node(t, root), request(t, root, "a", false)
	r.RefusedContent = setIDFiles
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error)
	go func() { answer <- n.Publish(ctx, r) }()
	<-looking
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	later(t, n, DefaultReleaseAfter)
	if !w.HasPin["sha256:one"] {
		t.Error("the tree was unpinned")
	}
	close(goOn)
	w.OnOpen = nil
	if err := n.Publish(t.Context(), r); !errors.Is(err, content.ErrRefused) || w.Count("open") != 1 {
		t.Errorf("%v, %d opens", err, w.Count("open"))
	}
	for range 50 { // the look ends a moment after its answer
		if later(t, n, DefaultReleaseAfter); len(w.HasPin) == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.expectNothingLeft(t, n)
}

func TestATreeThatCannotBeLookedAtIsNotMounted(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	w.Trees["sha256:one"] = t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	r.RefusedContent = setIDFiles
	w.Faults["open"] = 1
	if err := n.Publish(t.Context(), r); !errors.Is(err, volumetest.ErrInjected) || errors.Is(err, content.ErrRefused) || len(w.Mounted) != 0 {
		t.Errorf("%v, %d mounts", err, len(w.Mounted))
	}
	if err := n.Publish(t.Context(), r); err != nil || len(w.Mounted) != 1 {
		t.Errorf("the next try: %v, %d mounts", err, len(w.Mounted))
	}
}
