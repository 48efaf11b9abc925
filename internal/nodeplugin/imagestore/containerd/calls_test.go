package containerd

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

func pin(t *testing.T, s *Store, ref string) imagestore.Tree {
	t.Helper()
	tree, err := s.Pin(testContext(t), ref)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// unpin unpins a tree and has containerd collect it, as a sweep does.
func unpin(t *testing.T, s *Store, tree string) {
	t.Helper()
	if err := errors.Join(s.Unpin(testContext(t), tree), s.Collect(testContext(t))); err != nil {
		t.Fatal(err)
	}
}

func pins(t *testing.T, s *Store) []string {
	t.Helper()
	found, err := s.Pins(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// sameLayers reports whether two trees are one; which image either was found by does not matter.
func sameLayers(a, b imagestore.Tree) bool {
	return a.ID == b.ID && a.Form == b.Form && slices.Equal(a.Layers, b.Layers)
}

func info(t *testing.T, d *daemon, s *Store, tree string) snapshots.Info {
	t.Helper()
	info, err := d.client(t).SnapshotService("overlayfs").Stat(testContext(t), s.viewName(parse(t, tree)))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func countSnapshots(t *testing.T, d *daemon, name string) (n int) {
	t.Helper()
	err := d.client(t).SnapshotService(name).Walk(testContext(t), func(context.Context, snapshots.Info) error {
		n++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// removeImage removes an image's record and has containerd collect what nothing keeps.
func removeImage(t *testing.T, d *daemon, name string) {
	t.Helper()
	if err := d.client(t).ImageService().Delete(testContext(t), name, images.SynchronousDelete()); err != nil {
		t.Fatal(err)
	}
}

func poll(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
