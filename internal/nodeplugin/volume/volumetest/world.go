package volumetest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

// Driver is the CSI driver whose overlays a World checks.
const Driver = "container-image.csi.k8s.io"

// ErrInjected is in every error that a test prescribed.
var ErrInjected = errors.New("injected fault")

// World is a node: a mount table, an image store and a registry, with faults. Its methods are those of volume.Mounter,
// imagestore.Store and volume.Images. Without prescriptions each call has its effect at once.
type World struct {
	Mu      sync.Mutex // guards what is below while calls are under way
	Mounted map[string]hostmount.Mount
	HasPin  map[string]bool
	Tags    map[string]string // reference -> tree ID
	Calls   []string
	Faults  map[string]int // a call's name -> how many more times it fails; negative: after it had its effect

	OnUnpin   func()   // runs after Unpin had its effect, before it returns
	OnEnsure  func()   // runs in Ensure
	OnOpen    func()   // runs first in OpenOverlay
	OnList    func()   // runs once, when the next List has its names
	OnUnlimit func()   // runs first in Unlimit, which is the first act of a removal
	Held      bool     // as the last Ensure was given it
	Shown     []string // the digests that Ensure was asked for, "" for whatever a name leads to
	Broken    []string
	Trees     map[string]string           // directories with what trees hold, by the tree's ID
	Layers    map[string][]string         // directories that are a tree's layers, topmost first, by the tree's ID
	NoTree    map[string]bool             // sources of overlays that show no tree, so they need no pin
	Lost      map[string]bool             // trees whose layers the runtime does not hold any more
	Gone      map[string]bool             // targets whose layers were removed
	InMemory  map[string]hostmount.Memory // of the latest mount in memory, by target
	NoBinds   error                       // why the node binds nothing; nil: it does
	NoFiles   error                       // why the node mounts no EROFS files; nil: it does
	NoLabels  error                       // why the node gives no directory a label; nil: it does
	Labelled  []string                    // directories that were filled with the label of volumes
	BadFile   bool                        // EROFS files are damaged
	Bytes     int64                       // of every tree; 0: 3 MiB
	Limits    map[uint64]int64            // by inode of the directory, as the kernel has it; nil: nothing can be limited

	stalled chan struct{} // if not nil: removals have no effect before it is closed, even if a call waits for their answer
	devices uint64        // of the latest mount
}

// New returns a node without volumes, whose registry has two images.
func New() *World {
	return &World{
		Mounted:  map[string]hostmount.Mount{},
		HasPin:   map[string]bool{},
		Tags:     map[string]string{"r.example/app:1": "sha256:one", "r.example/app:2": "sha256:two"},
		Faults:   map[string]int{},
		Trees:    map[string]string{},
		Layers:   map[string][]string{},
		NoTree:   map[string]bool{},
		Lost:     map[string]bool{},
		Gone:     map[string]bool{},
		InMemory: map[string]hostmount.Memory{},
		Limits:   map[uint64]int64{},
	}
}

// Act records a call, does it, and fails it where the test prescribes it. Callers hold w.Mu.
func (w *World) Act(name string, effect func() error) error {
	w.Calls = append(w.Calls, name)
	switch left := w.Faults[name]; {
	case left > 0:
		w.Faults[name]--
		return fmt.Errorf("%s: %w", name, ErrInjected)
	case left < 0:
		w.Faults[name]++
		_ = effect()
		return fmt.Errorf("%s, after the fact: %w", name, ErrInjected)
	}
	return effect()
}

// Count returns how often a call was made.
func (w *World) Count(call string) (n int) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	for _, made := range w.Calls {
		if made == call {
			n++
		}
	}
	return n
}

// Stall keeps the runtime from removing anything until it is resumed.
func (w *World) Stall() (resume func()) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	stalled := make(chan struct{})
	w.stalled = stalled
	return func() {
		w.Mu.Lock()
		w.stalled = nil
		w.Mu.Unlock()
		close(stalled)
	}
}

// Answer waits until the runtime, which may be stalled, acts on a call. If ctx ends first, the effect still comes later.
func (w *World) Answer(ctx context.Context, effect func() error) error {
	w.Mu.Lock()
	stalled := w.stalled
	w.Mu.Unlock()
	if stalled == nil {
		return effect()
	}
	select {
	case <-stalled:
		return effect()
	case <-ctx.Done():
		go func() {
			<-stalled
			_ = effect()
		}()
		return ctx.Err()
	}
}

// Reboot takes the mounts away and leaves everything else.
func (w *World) Reboot() { w.Mounted = map[string]hostmount.Mount{} }

// ExpectWhole fails a test in which a call broke what pods rely on.
func (w *World) ExpectWhole(t *testing.T) {
	t.Helper()
	for _, b := range w.Broken {
		t.Error(b)
	}
	w.Broken = nil
}

// Within is a context that ends after d.
func Within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Ensure finds every image and lets every caller have it.
func (w *World) Ensure(_ context.Context, r pull.Request) error {
	if w.OnEnsure != nil {
		w.OnEnsure()
	}
	w.Mu.Lock()
	defer w.Mu.Unlock()
	w.Held = r.Held
	w.Shown = append(w.Shown, r.Digest)
	return w.Act("ensure "+string(r.Policy), func() error { return nil })
}

// TargetOf is where a pod with this UID has its volume.
func TargetOf(kubeletRoot, uid string) string {
	return filepath.Join(kubeletRoot, "pods", uid, "volumes", "kubernetes.io~csi", "v", "mount")
}
