package legacymetrics

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

// Metrics counts what the legacy driver counts. A nil *Metrics counts nothing.
type Metrics struct {
	durations *prometheus.HistogramVec
	errors    *prometheus.CounterVec
	last      *lastPulls
}

// New returns metrics at zero.
func New() *Metrics {
	return &Metrics{
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "warm_metal_pull_duration_seconds_hist",
			Help:    "Time taken by image pulls, by whether they failed.",
			Buckets: []float64{1, 5, 10, 15, 30, 60, 120, 300, 600, 900},
		}, []string{"error"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "warm_metal_operation_errors_total",
			Help: "Failures, by operation: pull-async-wait, pull-async-timeout, pull-async-error, pull-async-shutdown, pull-error, size-error, mount or unmount.",
		}, []string{"operation_type"}),
		last: &lastPulls{
			durations: prometheus.NewDesc("warm_metal_pull_duration_seconds", "Time taken by the latest pull of an image, for a minute.", []string{"image", "error"}, nil),
			sizes:     prometheus.NewDesc("warm_metal_pull_size_bytes", "Size of an image that was pulled within the last minute.", []string{"image"}, nil),
			now:       time.Now,
			pulls:     map[lastPull]pullSample{},
		},
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, part := range []prometheus.Collector{m.durations, m.errors, m.last} {
		part.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, part := range []prometheus.Collector{m.durations, m.errors, m.last} {
		part.Collect(ch)
	}
}

func (m *Metrics) failed(operation string) { m.errors.WithLabelValues(operation).Inc() }

func (m *Metrics) pullEnded(end pull.Ended, now time.Time) {
	failed := end.Result != "OK"
	m.durations.WithLabelValues(strconv.FormatBool(failed)).Observe(end.Took.Seconds())
	m.last.note(end, failed, now)
	switch {
	case !failed && end.Bytes == 0:
		m.failed("size-error")
		return
	case !failed:
		return
	case end.Stopped:
		m.failed("pull-async-shutdown")
	case end.TimedOut:
		m.failed("pull-async-timeout")
	default:
		m.failed("pull-async-error")
	}
	m.failed("pull-error")
}

// lastPulls serves the latest pull of each image for a minute, as the legacy driver does.
type lastPulls struct {
	durations, sizes *prometheus.Desc
	now              func() time.Time

	mu    sync.Mutex
	pulls map[lastPull]pullSample
}

type lastPull struct {
	image  string
	failed bool
}

type pullSample struct {
	at    time.Time
	took  time.Duration
	bytes int64
}

func (l *lastPulls) note(end pull.Ended, failed bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	l.pulls[lastPull{end.Image, failed}] = pullSample{at: now, took: end.Took, bytes: end.Bytes}
}

// forget needs l.mu.
func (l *lastPulls) forget(now time.Time) {
	for pull, sample := range l.pulls {
		if now.Sub(sample.at) >= time.Minute {
			delete(l.pulls, pull)
		}
	}
}

// Describe implements prometheus.Collector.
func (l *lastPulls) Describe(ch chan<- *prometheus.Desc) {
	ch <- l.durations
	ch <- l.sizes
}

// Collect implements prometheus.Collector.
func (l *lastPulls) Collect(ch chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(l.now())
	for pull, sample := range l.pulls {
		ch <- prometheus.MustNewConstMetric(l.durations, prometheus.GaugeValue, sample.took.Seconds(), pull.image, strconv.FormatBool(pull.failed))
		if sample.bytes > 0 && !pull.failed {
			ch <- prometheus.MustNewConstMetric(l.sizes, prometheus.GaugeValue, float64(sample.bytes), pull.image)
		}
	}
}
