package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// down is a snapshotter whose daemon is not there.
type down struct{ snapshots.Snapshotter }

var errDown = errors.New("the snapshotter's daemon is down")

func (down) Stat(context.Context, string) (snapshots.Info, error) { return snapshots.Info{}, errDown }

func (down) Mounts(context.Context, string) ([]mount.Mount, error) { return nil, errDown }

func (down) View(context.Context, string, string, ...snapshots.Opt) ([]mount.Mount, error) {
	return nil, errDown
}

// goesDown takes a snapshotter from a store.
func (s *Store) goesDown(t *testing.T, d *daemon, name string) {
	t.Helper()
	all, err := s.working(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	services := map[string]snapshots.Snapshotter{}
	for _, other := range all {
		services[other] = s.snapshotter(other)
	}
	services[name] = down{}
	without, err := client.New(d.socket(), client.WithDefaultNamespace(kubernetesNamespace),
		client.WithServices(client.WithSnapshotters(services)))
	if err != nil {
		t.Fatal(err)
	}
	whole := s.client
	s.client = without
	t.Cleanup(func() { _ = whole.Close() })
}

func testSnapshotterDown(t *testing.T, d *daemon) {
	const first, there, away = "registry.example/down:first", "registry.example/down:there", "registry.example/down:away"
	d.load(t, first, 1)
	if err := d.load(t, there, 1).Unpack(testContext(t), "native"); err != nil {
		t.Fatal(err)
	}
	if err := d.load(t, away, 1).Unpack(testContext(t), "overlayfs"); err != nil {
		t.Fatal(err)
	}
	for name, remembers := range map[string]bool{"it had the latest pin": true, "nothing is remembered": false} {
		s := d.store(t, strings.ReplaceAll(name, " ", "-")+".example")
		if remembers {
			pin(t, s, first)
		}
		s.goesDown(t, d, "overlayfs")
		tree := pin(t, s, there)
		if kept, err := s.Pinned(testContext(t), tree.ID); err != nil || !slices.Equal(kept.Layers, tree.Layers) {
			t.Errorf("%s: the pinned tree is %+v, %v", name, kept, err)
		}
		s.cache.forget("native")
		if _, err := s.Pin(testContext(t), away); !errors.Is(err, errDown) || errors.Is(err, imagestore.ErrNotFound) {
			t.Errorf("%s: an image that may be there only: %v", name, err)
		}
		if _, err := s.Pinned(testContext(t), "sha256:"+strings.Repeat("0", 64)); !errors.Is(err, errDown) {
			t.Errorf("%s: a tree that may be pinned there: %v", name, err)
		}
	}
}

// A node changes its snapshotter. It costs a start of containerd and another, a second or two.
func TestContainerdMayComeBackWithoutTheSnapshotterOfTheLatestPin(t *testing.T) {
	d := startDaemon(t)
	s := d.store(t, driver)
	if err := d.load(t, "registry.example/before:1", 1).Unpack(testContext(t), "native"); err != nil {
		t.Fatal(err)
	}
	pin(t, s, "registry.example/before:1")
	d.load(t, "registry.example/after:1", 1)
	d.stop()
	file := filepath.Join(d.dir, "config.toml")
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config = []byte(strings.Replace(string(config), "disabled_plugins = [", `disabled_plugins = ["io.containerd.snapshotter.v1.native", `, 1))
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	d.start(t)
	var tree imagestore.Tree
	poll(t, "an image is pinned with the new one", func() bool {
		tree, err = s.Pin(testContext(t), "registry.example/after:1")
		return err == nil
	})
	if !strings.Contains(tree.Layers[0], "overlayfs") {
		t.Errorf("layers %q", tree.Layers)
	}
}
