package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/grace"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume/volumetest"
)

func TestATreeIsLockedUntilItsUnpinHasEnded(t *testing.T) {
	for name, fails := range map[string]int{"it succeeds": 0, "its answer is lost": -1, "it fails": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, root := newWorld(), t.TempDir()
				n, r := w.node(t, root), request(t, root, "a", false)
				w.HasPin["sha256:one"], w.Faults["unpin"] = true, fails
				resume := w.Stall()
				if err := n.ReleaseUnused(volumetest.Within(t, time.Second)); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("the sweep: %v", err)
				}

				if err := n.Publish(volumetest.Within(t, time.Second), r); !errors.Is(err, context.DeadlineExceeded) || len(w.Mounted) != 0 {
					t.Fatalf("a publish of a tree that may lose its pin: %v, mounts %v", err, w.Mounted)
				}
				other := request(t, root, "b", false)
				other.Image = "r.example/app:2"
				if err := n.Publish(volumetest.Within(t, time.Second), other); err != nil {
					t.Errorf("a publish of another tree: %v", err)
				}
				began := time.Now()
				if err := n.ReleaseUnused(volumetest.Within(t, time.Minute)); err != nil || time.Since(began) != 0 {
					t.Errorf("the next sweep took %s: %v", time.Since(began), err)
				}

				published := make(chan error, 1)
				go func() { published <- n.Publish(volumetest.Within(t, time.Minute), r) }()
				synctest.Wait()
				resume()
				if err := <-published; err != nil || !w.HasPin["sha256:one"] {
					t.Errorf("a publish when the unpin has ended: %v, pins %v", err, w.HasPin)
				}
				w.ExpectWhole(t)
			})
		})
	}
}

func TestTheDiskIsFreedOnceASweepAfterAllUnpins(t *testing.T) {
	w := newWorld()
	n := w.node(t, t.TempDir())
	for _, tree := range []string{"sha256:x", "sha256:y", "sha256:z"} {
		w.HasPin[tree] = true
	}
	w.Faults["collect"] = 1
	if err := n.ReleaseUnused(t.Context()); !errors.Is(err, volumetest.ErrInjected) {
		t.Errorf("the runtime cannot free its disk: %v", err)
	}
	if want := []string{"unpin", "unpin", "unpin", "collect"}; !slices.Equal(w.Calls, want) {
		t.Errorf("calls %v", w.Calls)
	}
	for _, want := range []int{2, 2} {
		if err := n.ReleaseUnused(t.Context()); err != nil || w.Count("collect") != want {
			t.Errorf("freed %d times, want %d: once more after a failure, and never for nothing (%v)", w.Count("collect"), want, err)
		}
	}
}

func TestWhatAnUnpinFreesThatEndsAfterItsSweepIsFreedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		n := w.node(t, t.TempDir())
		running(t, n)
		w.Mu.Lock()
		w.HasPin["sha256:stray"] = true
		w.Mu.Unlock()
		n.Wake()
		resume := w.Stall()
		time.Sleep(sweepDelay + DefaultReleaseAfter + sweepTimeout + time.Second)
		freed := w.Count("collect")
		resume()
		time.Sleep(grace.Moment + sweepDelay)
		if freed != 0 || w.Count("collect") != 1 {
			t.Errorf("freed %d times before the unpin ended, and %d times in all", freed, w.Count("collect"))
		}
	})
}

func TestWhatDataLiesOnIsNotReleasedEvenIfItCameAfterTheLook(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	w.HasPin["sha256:one"] = true
	// The sweep has listed the data; now a volume gets its directory, and its mount fails.
	n.store = pinsTold{w, func() {
		w.Faults["mount"] = 1
		if err := n.Publish(t.Context(), r); !errors.Is(err, volumetest.ErrInjected) {
			t.Errorf("publish: %v", err)
		}
	}}
	if err := n.ReleaseUnused(t.Context()); err != nil || !n.data.exists(r) || !w.HasPin["sha256:one"] {
		t.Errorf("pins %v, data %v (%v)", w.HasPin, n.data.exists(r), err)
	}
}

// pinsTold is a store that notifies a test when pins were listed.
type pinsTold struct {
	*world
	listed func()
}

func (h pinsTold) Pins(ctx context.Context) ([]string, error) {
	defer h.listed()
	return h.world.Pins(ctx)
}

func TestThePodOfAnOrphanMayComeBackUntilTheLastMoment(t *testing.T) {
	for name, comesBack := range map[string]func(t *testing.T, n *Node, r Request){
		"its directory is there": func(*testing.T, *Node, Request) {},
		"its volume is mounted": func(t *testing.T, n *Node, r Request) {
			if err := n.Publish(t.Context(), r); err != nil {
				t.Error(err)
			}
		},
		"its volume is mounted, its directory cannot be seen": func(t *testing.T, n *Node, r Request) {
			err := n.Publish(t.Context(), r)
			if err := errors.Join(err, os.Rename(filepath.Join(string(n.pods), "static"), filepath.Join(string(n.pods), "other"))); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, root := newWorld(), t.TempDir()
			n, r := w.node(t, root), request(t, root, "static", true)
			request(t, root, "this-plugin", false)
			if err := n.Publish(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			w.Reboot()
			remove(t, filepath.Join(string(n.pods), "static"))
			now := time.Now()
			if _, err := n.sweep(t.Context(), now, n.releaseAfter); err != nil {
				t.Fatal(err)
			}
			w.OnList = func() {
				request(t, root, "static", true)
				comesBack(t, n, r)
			}
			if _, err := n.sweep(t.Context(), now.Add(DefaultOrphanAfter), n.releaseAfter); err != nil || !n.data.exists(r) {
				t.Errorf("the data is gone (%v)", err)
			}
		})
	}
}
