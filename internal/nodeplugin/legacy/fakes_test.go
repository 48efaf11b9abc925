package legacy

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/kubeletpods"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy/leftover"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume/volumetest"
)

// world is a node on which the legacy driver was.
type world struct {
	*volumetest.World
	left map[string]leftover.Leftover // by name
}

func newWorld() *world {
	w := &world{World: volumetest.New(), left: map[string]leftover.Leftover{}}
	w.NoTree[overlaySource] = true
	return w
}

func (w *world) Leftovers(context.Context) ([]leftover.Leftover, error) {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	var all []leftover.Leftover
	err := w.Act("leftovers", func() error {
		all = slices.Collect(maps.Values(w.left))
		return nil
	})
	return all, err
}

func (w *world) RemoveLeftover(ctx context.Context, name string) error {
	return w.Answer(ctx, func() error { return w.removeLeftover(name) })
}

func (w *world) removeLeftover(name string) error {
	w.Mu.Lock()
	defer w.Mu.Unlock()
	return w.Act("remove leftover", func() error {
		for _, m := range w.Mounted {
			if l := w.left[name]; (l.Upper != "" && m.Upper == l.Upper) || (m.Source == overlaySource && slices.Contains(l.Targets, m.Target)) {
				w.Broken = append(w.Broken, "removed "+name+" under the mount at "+m.Target)
			}
		}
		delete(w.left, name)
		return nil
	})
}

// node is a node plugin in a world.
type node struct {
	*volume.Node
	old  *Volumes
	data string // where the data of this driver's volumes is
}

// node is a node plugin with a kubelet directory of its own.
func (w *world) node(t *testing.T, root string) *node { return w.nodeWith(t, root, w) }

func (w *world) nodeWith(t *testing.T, root string, store leftover.Store) *node {
	t.Helper()
	config := volume.Config{Driver: volumetest.Driver, KubeletRoot: root, Mounter: w, Store: w, Images: w}
	old := New(config, store)
	config.Legacy = old
	n, err := volume.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return &node{Node: n, old: old, data: filepath.Join(root, contract.PluginsDir, volumetest.Driver, "volumes")}
}

// hasData reports whether a volume has data of this driver.
func (n *node) hasData() bool {
	left, err := os.ReadDir(n.data)
	return err != nil || len(left) > 0
}

// request is a volume of a pod, whose directory it makes.
func request(t *testing.T, root, uid string, writable bool) volume.Request {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "pods", uid), 0o755); err != nil {
		t.Fatal(err)
	}
	return volume.Request{
		VolumeID: "csi-" + uid,
		Target:   volumetest.TargetOf(root, uid),
		Image:    "r.example/app:1",
		Writable: writable,
		Policy:   contract.PullIfNotPresent,
		Pod:      "default/" + uid,
	}
}

// published is what the legacy driver left of one volume of one pod.
type published struct {
	uid     string
	request volume.Request
	left    leftover.Leftover
}

// published returns the state that the legacy driver leaves of a published volume.
func (w *world) published(t *testing.T, root, uid string, writable bool) published {
	t.Helper()
	r := request(t, root, uid, writable)
	if err := os.MkdirAll(filepath.Dir(r.Target), 0o755); err != nil {
		t.Fatal(err)
	}
	mount := hostmount.Mount{Target: r.Target, Source: overlaySource, FSType: "overlay", Root: "/", ReadOnly: !writable}
	left := leftover.Leftover{Name: "view", Targets: []string{r.Target}}
	if writable {
		r.VolumeID = kubeletpods.InlineVolumeID(uid, "v")
		snapshot := t.TempDir()
		left = leftover.Leftover{
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
	w.Mounted[r.Target] = mount
	return published{uid: uid, request: r, left: left}
}

// podGoes removes what the kubelet does once a pod is gone. Its directory of pods is never empty.
func podGoes(t *testing.T, root, uid string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "pods", "the-plugins-own"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "pods", uid)); err != nil {
		t.Fatal(err)
	}
}

// later sweeps, and again after d: the first sweep starts the grace period. Callers are in a bubble, where time is free.
func later(t *testing.T, n *node, d time.Duration) {
	t.Helper()
	for _, wait := range []time.Duration{0, d} {
		time.Sleep(wait)
		if _, err := n.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// eachAccess runs a test for both kinds of volumes, each in a bubble.
func eachAccess(t *testing.T, test func(t *testing.T, writable bool)) {
	for name, writable := range map[string]bool{"read-only": false, "writable": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, writable) })
		})
	}
}

// expectNothingLeft fails unless the node is as before the first volume.
func (w *world) expectNothingLeft(t *testing.T, n *node) {
	t.Helper()
	if len(w.Mounted) != 0 || len(w.HasPin) != 0 {
		t.Errorf("mounts %v and pins %v are left", w.Mounted, w.HasPin)
	}
	if len(w.left) != 0 {
		t.Errorf("of the legacy driver are left: %v", w.left)
	}
	if n.hasData() {
		t.Error("directories are left")
	}
	if len(w.Limits) != 0 {
		t.Errorf("limits are left: %v", w.Limits)
	}
	w.ExpectWhole(t)
}
