package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

// Metrics counts what the node plugin does.
type Metrics struct {
	registry   *prometheus.Registry
	operations *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	pulls      *prometheus.CounterVec
	pullTimes  *prometheus.HistogramVec
	pulling    prometheus.Gauge
	waiting    prometheus.Gauge
	pullBytes  prometheus.Counter
}

// New returns metrics at zero, with those of the Go runtime and the process.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imagecsi_operations_total",
			Help: "CSI calls answered, by method and gRPC code.",
		}, []string{"method", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "imagecsi_operation_duration_seconds",
			Help: "Time taken by CSI calls, by method and gRPC code.",
			// A publish of a present image takes milliseconds; one that waits for a pull takes up to the kubelet's two minutes.
			Buckets: []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30, 60, 120},
		}, []string{"method", "code"}),
		pulls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "imagecsi_pulls_total",
			Help: "Image pulls that ended, by result: OK or the kind of failure.",
		}, []string{"result"}),
		pullTimes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "imagecsi_pull_duration_seconds",
			Help:    "Time taken by image pulls, waiting for their turn included, by result.",
			Buckets: []float64{.1, .5, 1, 5, 10, 30, 60, 120, 300, 600, 1800},
		}, []string{"result"}),
		pulling: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "imagecsi_pulls_in_flight",
			Help: "Image pulls under way or waiting for their turn.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "imagecsi_pulls_waiting",
			Help: "Image pulls that wait for their turn.",
		}),
		pullBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "imagecsi_pull_bytes_total",
			Help: "Size of the images that pulls brought to the node, as its container runtime counts it.",
		}),
	}
	m.registry.MustRegister(m.operations, m.durations, m.pulls, m.pullTimes, m.pulling, m.waiting, m.pullBytes,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Register has metrics served as well that another package counts.
func (m *Metrics) Register(other prometheus.Collector) { m.registry.MustRegister(other) }

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	})
}

// Operation records one CSI call.
func (m *Metrics) Operation(method, code string, took time.Duration) {
	m.operations.WithLabelValues(method, code).Inc()
	m.durations.WithLabelValues(method, code).Observe(took.Seconds())
}

// PullQueued implements pull.Observer.
func (m *Metrics) PullQueued() {
	m.pulling.Inc()
	m.waiting.Inc()
}

// PullStarted implements pull.Observer.
func (m *Metrics) PullStarted() { m.waiting.Dec() }

// PullEnded implements pull.Observer.
func (m *Metrics) PullEnded(end pull.Ended) {
	m.pulling.Dec()
	m.pulls.WithLabelValues(end.Result).Inc()
	m.pullTimes.WithLabelValues(end.Result).Observe((end.Waited + end.Took).Seconds())
	if end.New {
		m.pullBytes.Add(float64(end.Bytes))
	}
}
