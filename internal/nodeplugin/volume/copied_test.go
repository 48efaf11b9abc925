package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume/volumetest"
)

// copied is a writable volume in the form IDMappable.
func copied(t *testing.T, root, uid string) Request {
	t.Helper()
	r := mappable(t, root, uid)
	r.Writable = true
	return r
}

func TestAWritableVolumeInTheFormIDMappableIsACopyOfItsImage(t *testing.T) {
	w, _ := withLayers(t)
	root := t.TempDir()
	n := w.node(t, root)
	for _, uid := range []string{"a", "b"} {
		if err := n.Publish(t.Context(), copied(t, root, uid)); err != nil {
			t.Fatal(err)
		}
	}
	a, b := w.Mounted[volumetest.TargetOf(root, "a")], w.Mounted[volumetest.TargetOf(root, "b")]
	if a.Root != n.data.directory("csi-a", a.Target).upper() || a.ReadOnly || a.Root == b.Root {
		t.Fatalf("bound %+v and %+v", a, b)
	}
	if err := os.WriteFile(filepath.Join(a.Root, "one"), []byte("written"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(b.Root, "one"), filepath.Join(w.Layers[linkedTree][1], "one")} {
		if content, err := os.ReadFile(file); string(content) != "one" {
			t.Errorf("%s holds %q (%v)", file, content, err)
		}
	}
	if err := n.Publish(t.Context(), copied(t, root, "a")); err != nil || w.Count("store") != 2 {
		t.Errorf("published again: %v, copied %d times", err, w.Count("store"))
	}
	usage, err := n.Usage(t.Context())
	if err != nil || usage.Writable != 2 || usage.ReadOnly != 0 || usage.MountedWithoutPin != 0 {
		t.Errorf("usage %+v (%v)", usage, err)
	}
	if err := n.Publish(t.Context(), mappable(t, root, "a")); !errors.Is(err, ErrOtherAccess) {
		t.Errorf("published read-only: %v", err)
	}
	stats, err := n.Stats(t.Context(), "csi-a", a.Target)
	if err != nil || stats.Inodes.Used != 3 || stats.Bytes.Used == 0 {
		t.Errorf("statistics %+v (%v)", stats, err)
	}
	for _, uid := range []string{"a", "b"} {
		if err := n.Unpublish(t.Context(), "csi-"+uid, volumetest.TargetOf(root, uid)); err != nil {
			t.Fatal(err)
		}
	}
	later(t, n, time.Hour)
	w.expectNothingLeft(t, n)
}

// The node restarts under the pod, with another process.
func TestACopyIsFoundAgainWithWhatThePodWrote(t *testing.T) {
	w, _ := withLayers(t)
	root := t.TempDir()
	r := copied(t, root, "a")
	if err := w.node(t, root).Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	upper := w.Mounted[r.Target].Root
	if err := os.WriteFile(filepath.Join(upper, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.Reboot()
	n := w.node(t, root)
	later(t, n, time.Hour)
	if err := n.Publish(t.Context(), r); err != nil || w.Count("store") != 1 {
		t.Errorf("%v, copied %d times", err, w.Count("store"))
	}
	if _, err := os.Stat(filepath.Join(w.Mounted[r.Target].Root, "new")); err != nil {
		t.Errorf("what the pod wrote: %v", err)
	}
	w.Reboot()
	r.Form = contract.FormOverlay
	if err := n.Publish(t.Context(), r); !errors.Is(err, ErrOtherAccess) {
		t.Errorf("as an overlay on a copy: %v", err)
	}
	copied(t, root, "other") // a node has pods
	if err := os.RemoveAll(filepath.Join(root, "pods", "a")); err != nil {
		t.Fatal(err)
	}
	later(t, n, time.Hour)
	later(t, n, time.Hour)
	w.expectNothingLeft(t, n)
}

func TestACopyThatFailsLeavesNothing(t *testing.T) {
	for name, prevent := range map[string]func(w *world, r *Request){
		"its layers cannot be opened": func(w *world, _ *Request) { w.Faults["store"] = 1 },
		"no limit can be set":         func(w *world, r *Request) { w.Limits, r.SizeLimit, w.fallback = nil, 1<<30, contract.FallbackMemory },
		"the limit is too small":      func(_ *world, r *Request) { r.SizeLimit = 1 << 20 },
		"nothing can be bound":        func(w *world, _ *Request) { w.Faults["bind"] = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := withLayers(t)
			root := t.TempDir()
			r := copied(t, root, "a")
			prevent(w, &r)
			n := w.node(t, root)
			if err := n.Publish(t.Context(), r); err == nil || len(w.Mounted) != 0 {
				t.Fatalf("%v, mounts %v", err, w.Mounted)
			} else if strings.Contains(err.Error(), "sizeLimitFallback") {
				t.Errorf("advises what does not help: %v", err)
			}
			if err := n.ReleaseUnused(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.expectNothingLeft(t, n)
		})
	}
}

// With SELinux a pod reads only what has a label for containers, and a policy may let the node plugin give none.
func TestACopyIsMadeWithTheLabelOfVolumesOrNotAtAll(t *testing.T) {
	w, _ := withLayers(t)
	root := t.TempDir()
	r := copied(t, root, "a")
	n := w.node(t, root)
	w.NoLabels = fmt.Errorf("%w: its policy forbids it", hostmount.ErrNotMappable)
	err := n.Publish(t.Context(), r)
	if !errors.Is(err, hostmount.ErrNotMappable) || !strings.Contains(err.Error(), "its policy forbids it; volume attribute form is IDMappable") {
		t.Errorf("got %v", err)
	}
	if err := n.ReleaseUnused(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.expectNothingLeft(t, n)
	w.NoLabels = nil
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	draft := string(n.data.directory(r.VolumeID, r.Target)) + newSuffix
	if want := directory(draft).upper(); len(w.Labelled) != 1 || w.Labelled[0] != want {
		t.Errorf("labelled %v, want %s", w.Labelled, want)
	}
}

func TestALimitSmallerThanTheImageIsRefusedBeforeItIsCopied(t *testing.T) {
	w, _ := withLayers(t)
	root := t.TempDir()
	r := copied(t, root, "a")
	r.SizeLimit = 2 << 20 // the image has 3 MiB
	err := w.node(t, root).Publish(t.Context(), r)
	if !errors.Is(err, ErrTooSmall) || !strings.Contains(err.Error(), "its layers have 3Mi") || !strings.Contains(err.Error(), "limit is 2Mi") || w.Count("store") != 0 {
		t.Errorf("%v, copied %d times", err, w.Count("store"))
	}
}

func TestALackOfRoomForACopyIsExplained(t *testing.T) {
	w := newWorld()
	n := w.node(t, t.TempDir())
	for _, c := range []struct {
		limit int64
		says  string
	}{{0, "is full; make room there"}, {1 << 20, "raise the limit"}} {
		err := n.full(Request{SizeLimit: c.limit, Form: contract.FormIDMappable}, unix.EDQUOT)
		if !errors.Is(err, syscall.EDQUOT) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), n.data.root) {
			t.Errorf("a limit of %d: %v", c.limit, err)
		}
	}
}

// The kubelet gives up after two minutes and calls again; or its pod ends meanwhile.
func TestACopyIsMadeToItsEndUnlessItsVolumeIsUnpublished(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, n *Node, r Request, w *world, resume func()){
		"published again": func(t *testing.T, n *Node, r Request, w *world, resume func()) {
			resume()
			if err := n.Publish(t.Context(), r); err != nil || w.Count("store") != 1 {
				t.Errorf("%v, copied %d times", err, w.Count("store"))
			}
			if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
				t.Error(err)
			}
		},
		"unpublished": func(t *testing.T, n *Node, r Request, _ *world, resume func()) {
			if err := n.Unpublish(volumetest.Within(t, 10*time.Millisecond), r.VolumeID, r.Target); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it may still be written, and unpublish says %v", err)
			}
			resume()
			if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
				t.Error(err)
			}
			if n.data.exists(r) {
				t.Error("the copy is there")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := withLayers(t)
			root := t.TempDir()
			n := w.node(t, root)
			wait, begun := make(chan struct{}), make(chan struct{})
			w.OnOpen = func() { close(begun); <-wait }
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-begun; cancel() }()
			r := copied(t, root, "a")
			if err := n.Publish(ctx, r); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "the next try waits") {
				t.Fatal(err)
			}
			if err := n.ReleaseUnused(t.Context()); err != nil || !w.HasPin[linkedTree] {
				t.Errorf("the layers lost their pin while they are copied (%v)", err)
			}
			end(t, n, r, w, func() { close(wait) })
			later(t, n, time.Hour)
			w.expectNothingLeft(t, n)
		})
	}
}

// A caller that found no copy may come when it has just been made.
func TestACopyThatIsThereIsNotMadeAgain(t *testing.T) {
	w, _ := withLayers(t)
	root := t.TempDir()
	n := w.node(t, root)
	for range 2 {
		if err := n.makeCopy(t.Context(), copied(t, root, "a"), imagestore.Tree{ID: linkedTree, Layers: w.Layers[linkedTree]}); err != nil {
			t.Fatal(err)
		}
	}
	if w.Count("store") != 1 {
		t.Errorf("copied %d times", w.Count("store"))
	}
}

// EROFS images have no directory that holds files.
func TestWhatCannotBeLinkedIsCopiedFromAnOverlay(t *testing.T) {
	w, _ := withLayers(t)
	w.HasPin[linkedTree], w.Trees[linkedTree] = true, t.TempDir()
	source, layers, err := w.node(t, t.TempDir()).openLayers(t.Context(), imagestore.Tree{ID: linkedTree, Layers: []string{"/s/1/layer.erofs"}, Form: hostmount.EROFS{}})
	if err != nil || len(layers) != 1 || layers[0] != "." || source.Name() != w.Trees[linkedTree] {
		t.Fatalf("%v %v, %v", source, layers, err)
	}
	_ = source.Close()
}

// A file system of its own for the driver's directory hides the driver's name; a bind elsewhere is a pod's.
func TestOnlyABindOfAVolumesOwnCopyIsOne(t *testing.T) {
	w, _ := withLayers(t)
	root := t.TempDir()
	n := w.node(t, root)
	r := copied(t, root, "a")
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	name := directoryName(r.VolumeID, r.Target)
	for _, c := range []struct {
		root, target string
		ours, others bool
	}{
		{"/lib/kubelet/plugins/" + volumetest.Driver + "/volumes/" + name + "/upper", r.Target, true, false},
		{"/" + name + "/upper", r.Target, true, false},
		{"/" + name + "/upper/dir", r.Target, false, false},
		{"/" + name + "/upper", volumetest.TargetOf(root, "b"), false, false},
		{"/kubelet/plugins/other.example/volumes/" + strings.Repeat("0", 64) + "/upper", r.Target, false, true},
		{"/" + strings.Repeat("0", 64) + "/upper", r.Target, false, false},
	} {
		m := hostmount.Mount{Root: c.root, Target: c.target, Source: "/dev/sda", FSType: "ext4"}
		if n.isOurs(m) != c.ours || n.isOthers(m) != c.others {
			t.Errorf("%s at %s: ours %t, others' %t", c.root, c.target, n.isOurs(m), n.isOthers(m))
		}
	}
}
