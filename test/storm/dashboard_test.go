package storm_test

import (
	"cmp"
	"context"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"

	"github.com/image-csi/image-csi-operator/test/internal/installation"
	"github.com/image-csi/image-csi-operator/test/internal/picture"
	"github.com/image-csi/image-csi-operator/test/internal/recording"
)

const (
	// scrapeInterval is short, because what is recorded takes a minute.
	scrapeInterval = time.Second

	// rateInterval is what Grafana makes of it, and some more for a busy machine.
	rateInterval = "10s"
)

// recorder scrapes operators, with the labels that they have by config/monitoring.
type recorder struct {
	kept  *recording.Recording
	began time.Time

	mu        sync.Mutex
	operators []*installation.Program
	failed    error // to keep what was scraped
}

// record begins to scrape an operator. finish ends it, as does the end of the test.
func record(t *testing.T, first *installation.Program) (r *recorder, finish func()) {
	t.Helper()
	kept, err := recording.New(t.TempDir(), 4*scrapeInterval)
	must(t, err)
	r = &recorder{kept: kept, began: time.Now(), operators: []*installation.Program{first}}
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
	finish = sync.OnceFunc(func() {
		stop()
		work.Wait()
	})
	t.Cleanup(func() {
		finish()
		must(t, kept.Close())
	})
	return r, finish
}

// also scrapes another operator from now on.
func (r *recorder) also(other *installation.Program) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.operators = append(r.operators, other)
}

func (r *recorder) scrape(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, operator := range r.operators {
		answer, err := metricsOf(ctx, operator.Address)
		if err != nil {
			continue // it starts, or was killed
		}
		target := map[string]string{"job": "image-csi-operator-metrics", "pod": "operator-" + string(rune('a'+i))}
		r.failed = cmp.Or(r.failed, r.kept.Add(ctx, time.Now(), answer, target))
	}
}

func metricsOf(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeInterval)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	return io.ReadAll(answer.Body)
}

// shows asks what the dashboard's panels about drivers and the operator ask, of what real operators said.
func (r *recorder) shows(t *testing.T) {
	t.Helper()
	must(t, r.failed)
	board, err := picture.Read(filepath.Join(root, "config/dashboard/dashboard.json"))
	must(t, err)
	frame := picture.Frame{From: r.began, To: time.Now(), Interval: rateInterval}
	ask := func(ctx context.Context, query string) (promql.Matrix, error) {
		return r.kept.Range(ctx, query, frame.From, frame.To, scrapeInterval)
	}
	asked := 0
	for _, panel := range board.Panels {
		if panel.FieldConfig.Defaults.NoValue != "The operator is not scraped" {
			continue
		}
		for _, target := range panel.Targets {
			found, err := ask(t.Context(), target.Query(rateInterval))
			must(t, err)
			asked++
			if !slices.ContainsFunc(found, hasNumber) {
				t.Errorf("panel %q shows nothing: %s", panel.Title, target.Query(rateInterval))
			}
		}
	}
	if asked < 18 {
		t.Errorf("asked %d queries only", asked)
	}
	if dir := os.Getenv("IMAGECSI_PICTURES"); dir != "" {
		drawn, err := picture.Draw(t.Context(), append(board.Section("Drivers"), board.Section("The operator")...), frame, ask)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "dashboard.svg"), drawn, 0o644))
	}
}

func hasNumber(s promql.Series) bool {
	return slices.ContainsFunc(s.Floats, func(p promql.FPoint) bool { return !math.IsNaN(p.F) })
}
