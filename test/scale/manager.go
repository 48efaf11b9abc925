package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/image-csi/image-csi-operator/test/internal/installation"
)

const (
	// second is how often the operator is looked at while it works.
	second = time.Second
	// still is for how long it has to have done nothing to be at rest: longer than it collects changes.
	still = 3 * time.Second
	// patience is more than any step takes.
	patience = 15 * time.Minute
)

// manager is a running operator.
type manager struct{ *installation.Program }

// startManager runs the operator alone: with leader election, its lease would be a write every two seconds.
func startManager(ctx context.Context, s *installation.Server, program string) (*manager, error) {
	running, err := s.Launch(ctx, program, "--log-level", "warn")
	return &manager{running}, err
}

func (m *manager) stop() error {
	if !m.Running() {
		return nil
	}
	if err := m.Stop(); err != nil {
		return err
	}
	// What it complained about is not lost in a figure.
	_, err := os.Stderr.Write(m.Log.Bytes())
	return err
}

// work is what the operator has done since it started, by its own metrics.
type work struct {
	reconciles, writes float64
	// cpu in seconds.
	cpu float64
	// heap is what the last garbage collection found alive, in bytes; collections are their number.
	heap, collections float64
	// busy reports whether it reconciles at this moment.
	busy bool
}

func (w work) since(before work) work {
	w.reconciles -= before.reconciles
	w.writes -= before.writes
	w.cpu -= before.cpu
	return w
}

func (m *manager) look(ctx context.Context) (work, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Address+"/metrics", nil)
	if err != nil {
		return work{}, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return work{}, err
	}
	defer answer.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	found, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		return work{}, fmt.Errorf("read the operator's metrics: %w", err)
	}
	for _, name := range []string{"rest_client_requests_total", "controller_runtime_reconcile_total", "controller_runtime_active_workers",
		"process_cpu_seconds_total", "go_gc_heap_live_bytes", "go_gc_cycles_total_gc_cycles_total"} {
		if found[name] == nil {
			return work{}, fmt.Errorf("the operator has no metric %s", name)
		}
	}
	isWrite := func(labels map[string]string) bool { return labels["method"] != http.MethodGet }
	return work{
		reconciles:  sum(found["controller_runtime_reconcile_total"], nil),
		writes:      sum(found["rest_client_requests_total"], isWrite),
		cpu:         sum(found["process_cpu_seconds_total"], nil),
		heap:        sum(found["go_gc_heap_live_bytes"], nil),
		collections: sum(found["go_gc_cycles_total_gc_cycles_total"], nil),
		busy:        sum(found["controller_runtime_active_workers"], nil) > 0,
	}, nil
}

func sum(family *dto.MetricFamily, counts func(labels map[string]string) bool) float64 {
	total := 0.0
	for _, metric := range family.GetMetric() {
		labels := map[string]string{}
		for _, label := range metric.GetLabel() {
			labels[label.GetName()] = label.GetValue()
		}
		if counts == nil || counts(labels) {
			total += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + metric.GetUntyped().GetValue()
		}
	}
	return total
}

// begin waits until the operator has looked at a driver. Before, it lists the cluster and seems to rest.
func (m *manager) begin(ctx context.Context) error {
	for start := time.Now(); time.Since(start) < patience; {
		if now, err := m.look(ctx); err == nil && now.reconciles > 0 {
			return nil
		}
		if err := sleep(ctx, second); err != nil {
			return err
		}
	}
	return fmt.Errorf("the operator does not look at the driver within %s", patience)
}

// settle waits until the operator rests, and returns what it has done by then and how long until its last sign of work.
func (m *manager) settle(ctx context.Context) (work, time.Duration, error) {
	start := time.Now()
	last, changed := work{reconciles: -1}, start
	for time.Since(start) < patience {
		now, err := m.look(ctx)
		switch {
		case err != nil && time.Since(start) > still:
			return now, 0, err
		case err != nil: // It is starting.
		case now.busy || now.reconciles != last.reconciles || now.writes != last.writes:
			last, changed = now, time.Now()
		case time.Since(changed) > still:
			return now, changed.Sub(start), nil
		}
		if err := sleep(ctx, second); err != nil {
			return now, 0, err
		}
	}
	return last, 0, fmt.Errorf("the operator does not come to rest within %s", patience)
}

// heap is what the operator's objects take, in bytes: what a garbage collection that began after this call found alive.
func (m *manager) heap(ctx context.Context) (float64, error) {
	first, err := m.look(ctx)
	for now := first; err == nil; now, err = m.look(ctx) { // Looking makes the garbage.
		if now.collections >= first.collections+2 {
			return now.heap, nil
		}
	}
	return 0, err
}

func sleep(ctx context.Context, long time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(long):
		return nil
	}
}
