package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

const driver = "container-image.csi.k8s.io"

var errInjected = errors.New("injected fault")

// world is a node: a mount table, an image store and a registry, with faults.
type world struct {
	mu     sync.Mutex
	mounts map[string]hostmount.Mount
	pins   map[string]bool
	tags   map[string]string // reference -> tree ID
	calls  []string
	faults map[string]int // a call's name -> how many more times it fails; negative: after it had its effect

	stalled   chan struct{} // if not nil: removals have no effect before it is closed, even if a call waits for their answer
	onUnpin   func()        // runs after Unpin had its effect, before it returns
	onEnsure  func()        // runs in Ensure
	onUnlimit func()        // runs first in Unlimit, which is the first act of a removal
	fallback  contract.LimitFallback
	held      bool     // as the last Ensure was given it
	shown     []string // the digests that Ensure was asked for, "" for whatever a name leads to
	broken    []string
	lost      map[string]bool                // trees whose layers the runtime does not hold any more
	gone      map[string]bool                // targets whose layers were removed
	left      map[string]imagestore.Leftover // by name
	memory    map[string]hostmount.Memory    // of the latest mount in memory, by target
	devices   uint64                         // of the latest mount
	limits    map[uint64]int64               // by inode of the directory, as the kernel has it; nil: nothing can be limited
}

func newWorld() *world {
	return &world{
		mounts: map[string]hostmount.Mount{},
		pins:   map[string]bool{},
		tags:   map[string]string{"r.example/app:1": "sha256:one", "r.example/app:2": "sha256:two"},
		faults: map[string]int{},
		lost:   map[string]bool{},
		gone:   map[string]bool{},
		left:   map[string]imagestore.Leftover{},
		memory: map[string]hostmount.Memory{},
		limits: map[uint64]int64{},
	}
}

// act records a call, does it, and fails it where the test prescribes it. Callers hold w.mu.
func (w *world) act(name string, effect func() error) error {
	w.calls = append(w.calls, name)
	switch left := w.faults[name]; {
	case left > 0:
		w.faults[name]--
		return fmt.Errorf("%s: %w", name, errInjected)
	case left < 0:
		w.faults[name]++
		_ = effect()
		return fmt.Errorf("%s, after the fact: %w", name, errInjected)
	}
	return effect()
}

func (w *world) Ensure(_ context.Context, r pull.Request) error {
	if w.onEnsure != nil {
		w.onEnsure()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = r.Held
	w.shown = append(w.shown, r.Digest)
	return w.act("ensure "+string(r.Policy), func() error { return nil })
}

func (w *world) Pin(_ context.Context, reference string) (imagestore.Tree, error) {
	w.mu.Lock()
	id := w.tags[reference]
	w.mu.Unlock()
	return w.pin(id)
}

// Size gives every tree 3 MiB in 40 files.
func (w *world) Size(context.Context, string) (imagestore.Size, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return imagestore.Size{Bytes: 3 << 20, Inodes: 40}, w.act("size", func() error { return nil })
}

func (w *world) pin(id string) (imagestore.Tree, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var tree imagestore.Tree
	err := w.act("pin", func() error {
		if id == "" {
			return imagestore.ErrNotFound
		}
		w.pins[id] = true
		tree = imagestore.Tree{ID: id, Layers: []string{"/layers/" + id}, Digest: digestOf(id)}
		return nil
	})
	return tree, err
}

// digestOf is the digest of the image with a tree.
func digestOf(tree string) string { return "digest of " + tree }

// Find finds every image, and counts as a pin what pins one that was not pinned when it was found.
func (w *world) Find(_ context.Context, reference string) (imagestore.PinFunc, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id, ok := w.tags[reference]
	switch {
	case !ok:
		return nil, ""
	case w.pins[id]:
		return func(context.Context) (imagestore.Tree, error) {
			return imagestore.Tree{ID: id, Layers: []string{"/layers/" + id}, Digest: digestOf(id)}, nil
		}, digestOf(id)
	default:
		return func(context.Context) (imagestore.Tree, error) { return w.pin(id) }, digestOf(id)
	}
}

func (w *world) Pinned(_ context.Context, id string) (imagestore.Tree, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	tree := imagestore.Tree{ID: id, Layers: []string{"/layers/" + id}}
	return tree, w.act("pinned", func() error {
		if !w.pins[id] {
			return imagestore.ErrNotFound
		}
		return nil
	})
}

func (w *world) Pins(context.Context) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.pins)), nil
}

// later waits until the runtime acts on a call. If ctx ends first, the effect still comes later.
func (w *world) later(ctx context.Context, effect func() error) error {
	w.mu.Lock()
	stalled := w.stalled
	w.mu.Unlock()
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

func (w *world) Unpin(ctx context.Context, id string) error {
	return w.later(ctx, func() error { return w.unpin(id) })
}

// Repin finds every tree but those whose layers were removed.
func (w *world) Repin(_ context.Context, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.act("repin", func() error {
		if w.lost[id] {
			return imagestore.ErrNotFound
		}
		w.pins[id] = true
		return nil
	})
}

func (w *world) Collect(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.act("collect", func() error { return nil })
}

func (w *world) unpin(id string) error {
	w.mu.Lock()
	err := w.act("unpin", func() error {
		for _, m := range w.mounts {
			if strings.HasSuffix(m.Source, "@"+id) {
				w.broken = append(w.broken, "unpinned "+id+" under the mount at "+m.Target)
			}
		}
		delete(w.pins, id)
		return nil
	})
	hook := w.onUnpin
	w.mu.Unlock()
	if hook != nil {
		hook()
	}
	return err
}

func (w *world) Leftovers(context.Context) ([]imagestore.Leftover, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []imagestore.Leftover
	err := w.act("leftovers", func() error {
		all = slices.Collect(maps.Values(w.left))
		return nil
	})
	return all, err
}

func (w *world) RemoveLeftover(ctx context.Context, name string) error {
	return w.later(ctx, func() error { return w.removeLeftover(name) })
}

func (w *world) removeLeftover(name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.act("remove leftover", func() error {
		for _, m := range w.mounts {
			if l := w.left[name]; l.Upper != "" && m.Upper == l.Upper || m.Source == overlaySource && slices.Contains(l.Targets, m.Target) {
				w.broken = append(w.broken, "removed "+name+" under the mount at "+m.Target)
			}
		}
		delete(w.left, name)
		return nil
	})
}

func (w *world) Close() error { return nil }

func (w *world) MountOverlay(_ context.Context, o hostmount.Overlay) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.act("mount", func() error {
		tree := strings.TrimPrefix(o.Source, "imagecsi:"+driver+"@")
		if !w.pins[tree] && o.Source != overlaySource {
			w.broken = append(w.broken, "mounted "+tree+" without a pin")
		}
		upper, dirs := o.Upper, []string{o.Upper, o.Work}
		if o.Memory != nil {
			upper, dirs = filepath.Join(o.Memory.At, "upper"), []string{o.Memory.At}
			w.memory[o.Target] = *o.Memory
		}
		if old, ok := w.mounts[o.Target]; ok {
			if old.Source == o.Source && old.ReadOnly == (upper == "") {
				return nil
			}
			return hostmount.ErrOccupied
		}
		if upper != "" {
			for _, dir := range dirs {
				if _, err := os.Stat(dir); err != nil {
					w.broken = append(w.broken, err.Error())
				}
			}
		}
		w.devices++
		w.mounts[o.Target] = hostmount.Mount{
			Target: o.Target, Source: o.Source, FSType: "overlay", Root: "/", ReadOnly: upper == "", Upper: upper, Device: w.devices,
		}
		return nil
	})
}

// Unmount also removes the directory, which is there if a test made it.
func (w *world) Unmount(_ context.Context, target string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.act("unmount", func() error {
		delete(w.mounts, target)
		if err := syscall.Rmdir(target); errors.Is(err, syscall.ENOTEMPTY) {
			return fmt.Errorf("%w: %w", hostmount.ErrNotEmpty, err)
		}
		return nil
	})
}

func (w *world) MoveDir(_ context.Context, target, to string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.act("move", func() error { return os.Rename(target, to) })
}

func (w *world) Mounts(context.Context) ([]hostmount.Mount, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.mounts)), nil
}

// node is a Node in a world, with a kubelet directory of its own.
func (w *world) node(t *testing.T, root string) *Node {
	t.Helper()
	n, err := New(Config{Driver: driver, KubeletRoot: root, Mounter: w, Store: w, Adopter: w, Images: w, LimitFallback: w.fallback})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// request is a volume of a pod, whose directory it makes.
func request(t *testing.T, root, uid string, writable bool) Request {
	t.Helper()
	pod := filepath.Join(root, "pods", uid)
	if err := os.MkdirAll(pod, 0o755); err != nil {
		t.Fatal(err)
	}
	return Request{
		VolumeID: "csi-" + uid,
		Target:   filepath.Join(pod, "volumes", "kubernetes.io~csi", "v", "mount"),
		Image:    "r.example/app:1",
		Writable: writable,
		Policy:   contract.PullIfNotPresent,
		Pod:      "default/" + uid,
	}
}

// later sweeps as if d had passed, twice: the first sweep starts the grace period. It removes what was set aside if the node
// was asked to.
func later(t *testing.T, n *Node, d time.Duration) {
	t.Helper()
	now := time.Now()
	for _, at := range []time.Time{now, now.Add(d)} {
		if _, err := n.sweep(t.Context(), at, n.releaseAfter); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-n.aside:
		if err := n.removeAside(t.Context()); err != nil {
			t.Fatal(err)
		}
	default:
	}
}

// expectNothingLeft fails unless the node is as before the first volume.
func (w *world) expectNothingLeft(t *testing.T, n *Node) {
	t.Helper()
	if len(w.mounts) != 0 || len(w.pins) != 0 {
		t.Errorf("mounts %v and pins %v are left", w.mounts, w.pins)
	}
	if len(w.left) != 0 {
		t.Errorf("of the legacy driver are left: %v", w.left)
	}
	if left, _ := os.ReadDir(n.data.root); len(left) != 0 {
		t.Errorf("directories are left: %v", left)
	}
	if len(w.limits) != 0 {
		t.Errorf("limits are left: %v", w.limits)
	}
	w.expectWhole(t)
}

func (w *world) expectWhole(t *testing.T) {
	t.Helper()
	for _, b := range w.broken {
		t.Error(b)
	}
	w.broken = nil
}

// List sees the same files as the node under test.
func (w *world) List(_ context.Context, dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

// Stat returns what the mount table has, and a capacity of its own.
func (w *world) Stat(_ context.Context, target string) (hostmount.Stat, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, mounted := w.mounts[target]
	if !mounted {
		_, err := os.Stat(target)
		return hostmount.Stat{}, err
	}
	return hostmount.Stat{
		Mount: &m, Gone: w.gone[target],
		Bytes:  hostmount.Capacity{Total: 1 << 30, Used: 1 << 29, Available: 1 << 28},
		Inodes: hostmount.Capacity{Total: 1000, Used: 600, Available: 400},
	}, nil
}

// Attributes returns the test's own user for every layer.
func (w *world) Attributes(_ context.Context, dir string, _ hostmount.Form) (hostmount.Attributes, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !strings.HasPrefix(dir, "/layers/") {
		return hostmount.Attributes{}, os.ErrNotExist
	}
	return hostmount.Attributes{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Mode: 0o2551}, nil
}

func (w *world) Limit(_ context.Context, l hostmount.Limit) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.act("limit", func() error {
		if w.limits == nil {
			return hostmount.ErrNoQuota
		}
		for _, dir := range []string{l.Work, l.Upper} {
			inode, err := inodeOf(dir)
			if err != nil {
				return err
			}
			w.limits[inode] = l.Bytes
		}
		return nil
	})
}

func (w *world) Limited(_ context.Context, dir string) (bytes, inodes hostmount.Capacity, ok bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if filepath.Base(dir) != "work" {
		w.broken = append(w.broken, "a limit was read from "+dir+", which a pod may change")
	}
	inode, err := inodeOf(dir)
	if err == nil {
		err = w.act("limited", func() error { return nil })
	}
	limit, ok := w.limits[inode]
	return hostmount.Capacity{Total: limit, Used: 1, Available: limit - 1}, hostmount.Capacity{Total: 10, Used: 1, Available: 9}, ok, err
}

// Unlimit takes the limit of the work directory, and of the upper one, which has the same project.
func (w *world) Unlimit(_ context.Context, work string) error {
	if w.onUnlimit != nil {
		w.onUnlimit()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.act("unlimit", func() error {
		for _, d := range []string{work, filepath.Join(filepath.Dir(work), "upper")} {
			if inode, err := inodeOf(d); err == nil {
				delete(w.limits, inode)
			}
		}
		return nil
	})
}

func inodeOf(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Ino, nil
}

func (d directories) exists(r Request) bool {
	_, err := os.Lstat(string(d.directory(r.VolumeID, r.Target)))
	return err == nil
}
