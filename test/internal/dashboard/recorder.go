package dashboard

import (
	"cmp"
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/test/internal/recording"
)

// scrapeInterval is short, because what is recorded takes a minute at most.
const scrapeInterval = time.Second

// Target is a process that is scraped.
type Target struct {
	// Labels are those that Prometheus gives it by its PodMonitor or ServiceMonitor.
	Labels map[string]string
	// Scrape is what /metrics of the process answers.
	Scrape func(context.Context) ([]byte, error)
}

// Recorder scrapes targets and keeps what they say.
type Recorder struct {
	kept   *recording.Recording
	began  time.Time
	finish func()

	mu      sync.Mutex
	targets []Target
	failed  error         // to keep what was scraped
	next    chan struct{} // closed when all targets have been scraped once more
}

// Record begins to scrape. Finish ends it, as does the end of the test.
func Record(t *testing.T, first ...Target) *Recorder {
	t.Helper()
	kept, err := recording.New(t.TempDir(), 4*scrapeInterval)
	if err != nil {
		t.Fatal(err)
	}
	r := &Recorder{kept: kept, began: time.Now(), targets: first, next: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for ctx.Err() == nil {
			r.scrape(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(scrapeInterval):
			}
		}
	})
	r.finish = sync.OnceFunc(func() {
		stop()
		work.Wait()
	})
	t.Cleanup(func() {
		r.finish()
		if err := kept.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// Also scrapes another target from now on.
func (r *Recorder) Also(other Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.targets = append(r.targets, other)
}

// Scraped waits until every target has been scraped that many times more, so that Prometheus sees what happens before and what happens
// after.
func (r *Recorder) Scraped(t *testing.T, times int) {
	t.Helper()
	for range times + 1 { // one is under way
		r.mu.Lock()
		next := r.next
		r.mu.Unlock()
		select {
		case <-next:
		case <-t.Context().Done():
			t.Fatal("the test ends while it waits for a scrape")
		}
	}
}

// Finish ends the scrapes.
func (r *Recorder) Finish() { r.finish() }

func (r *Recorder) scrape(ctx context.Context) {
	r.mu.Lock()
	targets := r.targets[:len(r.targets):len(r.targets)]
	r.mu.Unlock()
	var failed error
	for _, target := range targets {
		answer, err := scraped(ctx, target)
		if err != nil {
			continue // it starts, or was killed
		}
		failed = cmp.Or(failed, r.kept.Add(ctx, time.Now(), answer, maps.Clone(target.Labels)))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = cmp.Or(r.failed, failed)
	close(r.next)
	r.next = make(chan struct{})
}

func scraped(ctx context.Context, target Target) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeInterval)
	defer cancel()
	return target.Scrape(ctx)
}
