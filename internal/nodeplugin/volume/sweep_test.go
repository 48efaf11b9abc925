package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

func TestAnUnusedPinIsReleasedAfterItsGracePeriod(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n := w.node(t, root)
	w.HasPin["sha256:stray"] = true
	now := time.Now()
	sweep := func(at time.Duration) time.Duration {
		next, err := n.sweep(t.Context(), now.Add(at), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	if next := sweep(0); next != time.Minute || len(w.HasPin) != 1 {
		t.Errorf("first sweep: pins %v, next in %s", w.HasPin, next)
	}
	sweep(59 * time.Second)
	if len(w.HasPin) != 1 {
		t.Error("released too early")
	}
	if next := sweep(time.Minute); next != sweepEvery || len(w.HasPin) != 0 {
		t.Errorf("last sweep: pins %v, next in %s", w.HasPin, next)
	}
}

func TestAPinInUseIsKeptAndItsGracePeriodStartsAnew(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	w.HasPin["sha256:one"] = true
	now := time.Now()
	_, _ = n.sweep(t.Context(), now, time.Minute)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	_, _ = n.sweep(t.Context(), now.Add(time.Hour), time.Minute)
	if err := n.Unpublish(t.Context(), r.VolumeID, r.Target); err != nil {
		t.Fatal(err)
	}
	_, _ = n.sweep(t.Context(), now.Add(time.Hour+time.Second), time.Minute)
	if len(w.HasPin) != 1 {
		t.Error("the time of use counted as time out of use")
	}
	w.ExpectWhole(t)
}

func TestAtTheEndUnusedPinsGoAtOnceAndUsedOnesStay(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	if err := n.Publish(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.HasPin["sha256:two"] = true
	if err := n.ReleaseUnused(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(w.HasPin) != 1 || !w.HasPin["sha256:one"] {
		t.Errorf("pins %v", w.HasPin)
	}
}

func TestDataOutlivesDoubtAboutItsPod(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, w *world, n *Node, r Request)
		kept   bool
	}{
		{"the pod is there", func(*testing.T, *world, *Node, Request) {}, true},
		{"the pod is gone", func(t *testing.T, _ *world, n *Node, _ Request) {
			remove(t, filepath.Join(string(n.pods), "a"))
		}, false},
		{"the pod is gone but the volume is mounted", func(t *testing.T, w *world, n *Node, r Request) {
			remove(t, filepath.Join(string(n.pods), "a"))
			if err := n.Publish(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"the pods directory cannot be seen", func(t *testing.T, _ *world, n *Node, _ Request) { remove(t, string(n.pods)) }, true},
		{"the pods directory is empty", func(t *testing.T, _ *world, n *Node, _ Request) {
			remove(t, string(n.pods))
			if err := os.Mkdir(string(n.pods), 0o755); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"the id file is damaged", func(t *testing.T, _ *world, n *Node, r Request) {
			remove(t, filepath.Join(string(n.pods), "a"))
			file := filepath.Join(n.data.root, directoryName(r.VolumeID, r.Target), idFile)
			if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"the id file is missing", func(t *testing.T, _ *world, n *Node, r Request) {
			remove(t, filepath.Join(string(n.pods), "a"))
			remove(t, filepath.Join(n.data.root, directoryName(r.VolumeID, r.Target), idFile))
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, root := newWorld(), t.TempDir()
			n, r := w.node(t, root), request(t, root, "a", true)
			request(t, root, "this-plugin", false)
			if err := n.Publish(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			delete(w.Mounted, r.Target)
			tt.change(t, w, n, r)
			now := time.Now()
			_, _ = n.sweep(t.Context(), now, time.Minute)
			if !n.data.exists(r) {
				t.Fatal("the data went without a grace period")
			}
			_, _ = n.sweep(t.Context(), now.Add(DefaultOrphanAfter), time.Minute)
			if n.data.exists(r) != tt.kept {
				t.Errorf("kept %v, want %v", n.data.exists(r), tt.kept)
			}
		})
	}
}

func TestNoImageIsReleasedWhileItCannotBeToldWhatDataLiesOn(t *testing.T) {
	for name, damage := range map[string]func(file string) error{
		"its id file is damaged": func(file string) error { return os.WriteFile(file, []byte("{"), 0o600) },
		"its id file is missing": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			w, root := newWorld(), t.TempDir()
			n, r := w.node(t, root), request(t, root, "a", true)
			if err := n.Publish(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			w.Reboot()
			file := filepath.Join(n.data.root, directoryName(r.VolumeID, r.Target), idFile)
			whole, err := os.ReadFile(file)
			if err := errors.Join(err, damage(file)); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			for _, at := range []time.Duration{0, time.Hour} {
				next, err := n.sweep(t.Context(), now.Add(at), time.Minute)
				if err == nil || next != sweepEvery || !w.HasPin["sha256:one"] {
					t.Errorf("a sweep after %s: pins %v, next in %s (%v)", at, w.HasPin, next, err)
				}
			}
			if err := n.ReleaseUnused(t.Context()); err == nil || !w.HasPin["sha256:one"] {
				t.Errorf("at the end: pins %v (%v)", w.HasPin, err)
			}
			if err := errors.Join(os.WriteFile(file, whole, 0o600), n.Unpublish(t.Context(), r.VolumeID, r.Target)); err != nil {
				t.Fatal(err)
			}
			later(t, n, DefaultReleaseAfter)
			w.expectNothingLeft(t, n)
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func TestLeftoversOfAKilledProcessGo(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n := w.node(t, root)
	for _, name := range []string{"x.new", "x.1.removed"} {
		if err := os.MkdirAll(filepath.Join(n.data.root, name, "upper", "deep"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	later(t, n, 0)
	left, _ := os.ReadDir(n.data.root)
	if len(left) != 1 || left[0].Name() != "x.new" {
		t.Errorf("left %v: what was removed goes at once, what is being made is spared", left)
	}
	later(t, n, DefaultOrphanAfter)
	w.expectNothingLeft(t, n)
}

func TestAHalfMadeDirectoryGoesInItsTimeWhateverTheClockSays(t *testing.T) {
	for name, set := range map[string]time.Duration{"set forward": -365 * 24 * time.Hour, "set back": 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			w, root := newWorld(), t.TempDir()
			n, now := w.node(t, root), time.Now()
			draft := filepath.Join(n.data.root, "x.new")
			if err := errors.Join(os.Mkdir(draft, 0o700), os.Chtimes(draft, now.Add(set), now.Add(set))); err != nil {
				t.Fatal(err)
			}
			sweep := func(at time.Duration) (left bool) {
				if _, err := n.sweep(t.Context(), now.Add(at), time.Minute); err != nil {
					t.Fatal(err)
				}
				_, err := os.Stat(draft)
				return err == nil
			}
			if !sweep(0) || !sweep(DefaultOrphanAfter-time.Second) {
				t.Error("it is gone too early")
			}
			unlock, ok := n.creating.TryLock("x.new")
			if !ok || !sweep(DefaultOrphanAfter) {
				t.Error("it is gone while a call makes it")
			}
			unlock()
			if sweep(DefaultOrphanAfter + time.Second) {
				t.Error("it stays")
			}
		})
	}
}

// The clock jumps by a day while test/kernel runs this in its machines; elsewhere it must hold all the more.
func TestNoGracePeriodEndsEarlyWhateverTheClockSays(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, gone := w.node(t, root), request(t, root, "gone", true)
	request(t, root, "this-plugin", false)
	if err := n.Publish(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	delete(w.Mounted, gone.Target)
	remove(t, filepath.Join(string(n.pods), "gone"))
	w.HasPin["sha256:stray"] = true
	draft := filepath.Join(n.data.root, "x.new")
	if err := os.Mkdir(draft, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		next, err := n.Sweep(t.Context())
		if err != nil || next > DefaultReleaseAfter {
			t.Fatalf("the next sweep is in %s (%v)", next, err)
		}
		if _, err := os.Stat(draft); err != nil || !n.data.exists(gone) || !w.HasPin["sha256:stray"] {
			t.Fatalf("something went at once: pins %v, data %v, draft %v", w.HasPin, n.data.exists(gone), err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAPublishDuringAReleasePinsAgain(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", false)
	w.HasPin["sha256:one"] = true
	done := make(chan error, 1)
	w.OnUnpin = func() {
		w.OnUnpin = nil
		go func() { done <- n.Publish(t.Context(), r) }()
		time.Sleep(50 * time.Millisecond) // the publish gets as far as it can while the release holds the tree
		w.Mu.Lock()
		defer w.Mu.Unlock()
		delete(w.HasPin, "sha256:one") // the runtime acts on the release only now
	}
	if err := n.ReleaseUnused(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !w.HasPin["sha256:one"] {
		t.Error("the volume's image is not pinned")
	}
	w.ExpectWhole(t)
}

func TestAPinThatIsReleasedAfterItWasFoundIsMadeAgain(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n := w.node(t, root)
	w.HasPin["sha256:one"] = true
	w.OnEnsure = func() {
		if err := n.ReleaseUnused(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := n.Publish(t.Context(), request(t, root, "a", false)); err != nil {
		t.Fatal(err)
	}
	if !w.HasPin["sha256:one"] {
		t.Error("the volume's image is not pinned")
	}
	w.ExpectWhole(t)
}

func TestManyVolumesAtOnceUnderConstantSweeps(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n := w.node(t, root)
	var stop atomic.Bool
	var sweeper, calls sync.WaitGroup
	sweeper.Go(func() {
		for !stop.Load() {
			if err := n.ReleaseUnused(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	var requests []Request
	for i := range 110 {
		r := request(t, root, fmt.Sprint("pod", i), i%3 == 0)
		r.Image = fmt.Sprintf("r.example/app:%d", 1+i%2)
		requests = append(requests, r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for round := range 3 {
		for _, r := range requests {
			calls.Go(func() {
				if err := n.Publish(ctx, r); err != nil {
					t.Errorf("publish: %v", err)
				}
			})
		}
		calls.Wait()
		w.Mu.Lock()
		if len(w.Mounted) != len(requests) || len(w.HasPin) != 2 {
			t.Errorf("round %d: %d mounts, pins %v", round, len(w.Mounted), w.HasPin)
		}
		w.Mu.Unlock()
		for _, r := range requests {
			calls.Go(func() {
				if err := n.Unpublish(ctx, r.VolumeID, r.Target); err != nil {
					t.Errorf("unpublish: %v", err)
				}
			})
		}
		calls.Wait()
	}
	stop.Store(true)
	sweeper.Wait()
	later(t, n, DefaultReleaseAfter)
	w.expectNothingLeft(t, n)
	for _, r := range requests {
		if unlock, ok := n.targets.TryLock(r.Target); ok {
			unlock()
		} else {
			t.Errorf("%s is still locked", r.Target)
		}
	}
}

func TestTheSameVolumeManyTimesAtOnce(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n, r := w.node(t, root), request(t, root, "a", true)
	var calls sync.WaitGroup
	for range 30 {
		calls.Go(func() {
			if err := n.Publish(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if len(w.Mounted) != 1 {
		t.Errorf("mounts %v", w.Mounted)
	}
	w.ExpectWhole(t)
}

func TestRunSweepsWhenWokenAndEnds(t *testing.T) {
	w, root := newWorld(), t.TempDir()
	n := w.node(t, root)
	n.releaseAfter = time.Nanosecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	w.Mu.Lock()
	w.HasPin["sha256:stray"] = true
	w.Mu.Unlock()
	n.Wake()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if pins, _ := w.Pins(ctx); len(pins) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the pin is still there")
		}
	}
	cancel()
	<-done
}

func TestANodeThatIsWokenAllTheTimeIsSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		n := w.node(t, t.TempDir())
		running(t, n)
		w.Mu.Lock()
		w.HasPin["sha256:stray"] = true
		w.Mu.Unlock()
		for until := time.Now().Add(2 * DefaultReleaseAfter); time.Now().Before(until); time.Sleep(sweepDelay / 2) {
			n.Wake()
		}
		if pins, _ := w.Pins(t.Context()); len(pins) != 0 {
			t.Errorf("pins %v are left", pins)
		}
	})
}

// panicking is a store with a defect.
type panicking struct{ imagestore.Store }

func (panicking) Pins(context.Context) ([]string, error) { panic("oh no") }

func TestAPanicInASweepEndsNothing(t *testing.T) {
	w := newWorld()
	n := w.node(t, t.TempDir())
	n.store = panicking{w}
	var log lockedLog
	n.log = slog.New(slog.NewJSONHandler(&log, nil))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), "the sweep is incomplete"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no sweep was made")
		}
	}
	cancel()
	<-done
}

// lockedLog takes the lines of another goroutine.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
