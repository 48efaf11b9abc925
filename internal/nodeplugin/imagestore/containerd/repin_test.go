package containerd

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

// loseView removes a tree's view as a person does with ctr.
func loseView(t *testing.T, d *daemon, s *Store, tree, snapshotter string) {
	t.Helper()
	if err := d.client(t).SnapshotService(snapshotter).Remove(testContext(t), s.viewName(parse(t, tree))); err != nil {
		t.Fatal(err)
	}
}

func testRepin(t *testing.T, d *daemon) {
	const ref = "registry.example/repin:1"
	d.load(t, ref, 2)
	s := d.store(t, "repin.example")
	tree := pin(t, s, ref)
	loseView(t, d, s, tree.ID, "overlayfs")
	for range 2 {
		if err := s.Repin(testContext(t), tree.ID); err != nil {
			t.Fatal(err)
		}
	}
	if found := pins(t, s); !slices.Equal(found, []string{tree.ID}) {
		t.Errorf("pins %q", found)
	}
	removeImage(t, d, ref)
	for _, layer := range tree.Layers {
		if _, err := os.Stat(layer); err != nil {
			t.Errorf("a layer that was pinned again: %v", err)
		}
	}
	loseView(t, d, s, tree.ID, "overlayfs")
	if err := s.Collect(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.Repin(testContext(t), tree.ID); !errors.Is(err, imagestore.ErrNotFound) || len(pins(t, s)) != 0 {
		t.Errorf("a tree whose layers are gone: %v, pins %q", err, pins(t, s))
	}
	if err := s.Repin(testContext(t), "no digest"); err == nil || errors.Is(err, imagestore.ErrNotFound) {
		t.Errorf("a tree ID that is none: %v", err)
	}
}

// It is not known which of two snapshotters gave its layers to a mount.
func testRepinEverywhere(t *testing.T, d *daemon) {
	const ref = "registry.example/repin-everywhere:1"
	image, both := d.load(t, ref, 1), []string{"native", "overlayfs"}
	for _, name := range both {
		if err := image.Unpack(testContext(t), name); err != nil {
			t.Fatal(err)
		}
	}
	s := d.store(t, "everywhere.example")
	tree := pin(t, s, ref)
	loseView(t, d, s, tree.ID, "overlayfs")
	if err := s.Repin(testContext(t), tree.ID); err != nil {
		t.Fatal(err)
	}
	for _, name := range both {
		if _, err := s.viewed(testContext(t), parse(t, tree.ID), name); err != nil {
			t.Error(err)
		}
	}
	unpin(t, s, tree.ID)
	for _, name := range both {
		if _, err := s.viewed(testContext(t), parse(t, tree.ID), name); !errors.Is(err, errdefs.ErrNotFound) {
			t.Errorf("after the unpin, in %s: %v", name, err)
		}
	}
}
