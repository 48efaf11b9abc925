package volume

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume/volumetest"
)

// world is a node, and how its volumes are configured.
type world struct {
	*volumetest.World
	fallback contract.LimitFallback
}

func newWorld() *world { return &world{World: volumetest.New()} }

// node is a Node in a world, with a kubelet directory of its own.
func (w *world) node(t *testing.T, root string) *Node {
	t.Helper()
	n, err := New(Config{Driver: volumetest.Driver, KubeletRoot: root, Mounter: w, Store: w, Images: w, LimitFallback: w.fallback})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// request is a volume of a pod, whose directory it makes.
func request(t *testing.T, root, uid string, writable bool) Request {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "pods", uid), 0o755); err != nil {
		t.Fatal(err)
	}
	return Request{
		VolumeID: "csi-" + uid,
		Target:   volumetest.TargetOf(root, uid),
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
	if len(w.Mounted) != 0 || len(w.HasPin) != 0 {
		t.Errorf("mounts %v and pins %v are left", w.Mounted, w.HasPin)
	}
	if left, _ := os.ReadDir(n.data.root); len(left) != 0 {
		t.Errorf("directories are left: %v", left)
	}
	if len(w.Limits) != 0 {
		t.Errorf("limits are left: %v", w.Limits)
	}
	w.ExpectWhole(t)
}

func (d directories) exists(r Request) bool {
	_, err := os.Lstat(string(d.directory(r.VolumeID, r.Target)))
	return err == nil
}

func eachAccess(t *testing.T, test func(t *testing.T, writable bool)) {
	for name, writable := range map[string]bool{"read-only": false, "writable": true} {
		t.Run(name, func(t *testing.T) { test(t, writable) })
	}
}
