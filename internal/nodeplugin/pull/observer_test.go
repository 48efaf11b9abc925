package pull

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// witness is an Observer that remembers.
type witness struct {
	mu              sync.Mutex
	queued, started int
	ends            []Ended
}

func (w *witness) PullQueued() { w.note(func() { w.queued++ }) }

func (w *witness) PullStarted() { w.note(func() { w.started++ }) }

func (w *witness) PullEnded(e Ended) { w.note(func() { w.ends = append(w.ends, e) }) }

func (w *witness) note(what func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what()
}

// only returns the end of the one pull that there was.
func (w *witness) only(t *testing.T) Ended {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ends) != 1 || w.queued != 1 {
		t.Fatalf("%d pulls queued, ends %+v", w.queued, w.ends)
	}
	return w.ends[0]
}

func TestAnObserverLearnsHowAPullEnded(t *testing.T) {
	forever := func(ctx context.Context, _ string, _ *runtimeapi.AuthConfig) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for _, c := range []struct {
		name   string
		onPull func(context.Context, string, *runtimeapi.AuthConfig) error
		config Config
		want   Ended
	}{
		{"well", nil, Config{}, Ended{Result: "OK", Bytes: 7, New: true}},
		{"in vain", nil, Config{MaxImageBytes: 6}, Ended{Result: "TooLarge", Bytes: 7, New: true}},
		{"refused", func(context.Context, string, *runtimeapi.AuthConfig) error {
			return status.Error(codes.Unknown, "unexpected status: 401 Unauthorized")
		}, Config{}, Ended{Result: "Denied"}},
		{"too late", forever, Config{Timeout: 50 * time.Millisecond}, Ended{TimedOut: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &witness{}
			c.config.Observer = w
			p := newPuller(t, &fakeCRI{onPull: c.onPull, size: 7}, c.config)
			_ = p.Ensure(within(t, 10*time.Second), Request{Image: image})
			got := w.only(t)
			if got.Image != image || got.Took <= 0 || got.Stopped || got.Bytes != c.want.Bytes || got.New != c.want.New || got.TimedOut != c.want.TimedOut {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if c.want.Result != "" && got.Result != c.want.Result {
				t.Errorf("result %s, want %s", got.Result, c.want.Result)
			}
		})
	}
}

func TestAPullThatNeverHadItsTurnTookNoTime(t *testing.T) {
	w := &witness{}
	stuck := make(chan struct{})
	p := newPuller(t, &fakeCRI{onPull: func(ctx context.Context, _ string, _ *runtimeapi.AuthConfig) error {
		close(stuck)
		<-ctx.Done()
		return ctx.Err()
	}}, Config{MaxParallel: 1, Observer: w})
	_ = p.Ensure(within(t, 200*time.Millisecond), Request{Image: image})
	<-stuck
	_ = p.Ensure(within(t, 50*time.Millisecond), Request{Image: "r.example/other:1"})
	p.Close()
	if w.queued != 2 || w.started != 2 || len(w.ends) != 2 {
		t.Fatalf("%d queued, %d started, ends %+v", w.queued, w.started, w.ends)
	}
	for _, end := range w.ends {
		if (end.Took > 0) != (end.Image == image) || !end.Stopped {
			t.Errorf("end %+v", end)
		}
	}
}
