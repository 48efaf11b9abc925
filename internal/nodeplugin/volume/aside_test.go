package volume

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"
)

// running runs a node until the test ends.
func running(t *testing.T, n *Node) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

// inTime fails unless f returns without an error, and soon.
func inTime(t *testing.T, what string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s does not end", what)
	}
}

// withoutData waits until a node holds the data of no volume.
func withoutData(t *testing.T, n *Node) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left, err := os.ReadDir(n.data.root)
		if err == nil && len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("directories are left: %v (%v)", left, err)
		}
	}
}

// unpublished is a node on which a writable volume was published and unpublished again.
func unpublished(t *testing.T, w *world, root string) *Node {
	t.Helper()
	n, r := w.node(t, root), request(t, root, "a", true)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	inTime(t, "an unpublish", func() error { return n.Unpublish(t.Context(), r.VolumeID, r.Target) })
	if n.data.exists(r) {
		t.Error("the data has its name still")
	}
	return n
}

func TestNobodyWaitsForARemoval(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	begun, end := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	finish := sync.OnceFunc(func() { close(end) })
	w.OnUnlimit = func() { begin(); <-end }
	running(t, n)
	t.Cleanup(finish)
	inTime(t, "an unpublish", func() error { return n.Unpublish(t.Context(), r.VolumeID, r.Target) })
	inTime(t, "the removal's begin", func() error { <-begun; return nil })
	inTime(t, "a sweep", func() error { _, err := n.Sweep(t.Context()); return err })
	finish()
	withoutData(t, n)
}

func TestWhatIsSetAsideIsRemovedAtTheEndOrAtTheNextStart(t *testing.T) {
	t.Run("at the end", func(t *testing.T) {
		w := newWorld()
		n := unpublished(t, w, t.TempDir())
		if err := n.ReleaseUnused(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.expectNothingLeft(t, n)
	})
	t.Run("at the next start", func(t *testing.T) {
		w, root := newWorld(), t.TempDir()
		n := unpublished(t, w, root)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := n.ReleaseUnused(ctx); err == nil {
			t.Error("no error names what is left")
		}
		if left, _ := os.ReadDir(n.data.root); len(left) != 1 {
			t.Errorf("an end without time removed something; left are %v", left)
		}
		n = w.node(t, root)
		running(t, n)
		withoutData(t, n)
	})
}
