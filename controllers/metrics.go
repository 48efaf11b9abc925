package controllers

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// scrapeTimeout is more than a read from the cache takes.
const scrapeTimeout = 5 * time.Second

// statusMetrics shows the status of every ImageCSIDriver to Prometheus. It reads the objects at each scrape, so that
// there is nothing to keep in step, and nothing left of an object that is gone.
type statusMetrics struct {
	client                                             client.Reader
	nodes, unsupported, classNodes, condition, rollout *prometheus.Desc
}

var _ prometheus.Collector = (*statusMetrics)(nil)

// NewStatusMetrics returns the metrics of all drivers that a reader of the cache sees.
func NewStatusMetrics(reader client.Reader) prometheus.Collector {
	return &statusMetrics{
		client: reader,
		nodes: prometheus.NewDesc("imagecsi_driver_nodes",
			"Nodes of the cluster by what they are to a driver: total, eligible, ready, unsupported, waiting.",
			[]string{"driver", "state"}, nil),
		unsupported: prometheus.NewDesc("imagecsi_driver_unsupported_nodes",
			"Nodes that cannot serve a driver, by the reason.",
			[]string{"driver", "reason"}, nil),
		classNodes: prometheus.NewDesc("imagecsi_driver_class_nodes",
			"Nodes of a node class by the state of their node plugins: total, ready, updated.",
			[]string{"driver", "class", "mount_mode", "state"}, nil),
		condition: prometheus.NewDesc("imagecsi_driver_condition",
			"1 for the status that a driver's condition has, 0 for the others.",
			[]string{"driver", "condition", "status"}, nil),
		rollout: prometheus.NewDesc("imagecsi_driver_rollout",
			"1 for the phase that a driver's rollout is in: Complete, Canary, Updating, Paused, RollingBack, RolledBack.",
			[]string{"driver", "phase"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *statusMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.nodes
	ch <- m.unsupported
	ch <- m.classNodes
	ch <- m.condition
	ch <- m.rollout
}

// Collect implements prometheus.Collector.
func (m *statusMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var drivers v1alpha1.ImageCSIDriverList
	if err := m.client.List(ctx, &drivers, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.Log.Error(err, "A scrape of the metrics lacks the drivers, because they cannot be listed")
		return
	}
	for i := range drivers.Items {
		m.collect(ch, drivers.Items[i].Name, &drivers.Items[i].Status)
	}
}

func (m *statusMetrics) collect(ch chan<- prometheus.Metric, driver string, status *v1alpha1.ImageCSIDriverStatus) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	nodes := status.Nodes
	gauge(m.nodes, float64(nodes.Total), driver, "total")
	gauge(m.nodes, float64(nodes.Eligible), driver, "eligible")
	gauge(m.nodes, float64(nodes.Ready), driver, "ready")
	gauge(m.nodes, float64(nodes.Unsupported), driver, "unsupported")
	gauge(m.nodes, float64(nodes.Waiting), driver, "waiting")
	for _, group := range status.Unsupported {
		gauge(m.unsupported, float64(group.Nodes), driver, string(group.Reason))
	}
	for _, class := range status.NodeClasses {
		gauge(m.classNodes, float64(class.Nodes), driver, class.Name, string(class.MountMode), "total")
		gauge(m.classNodes, float64(class.Ready), driver, class.Name, string(class.MountMode), "ready")
		gauge(m.classNodes, float64(class.Updated), driver, class.Name, string(class.MountMode), "updated")
	}
	for _, condition := range status.Conditions {
		for _, possible := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
			value := 0.0
			if condition.Status == possible {
				value = 1
			}
			gauge(m.condition, value, driver, condition.Type, string(possible))
		}
	}
	if status.Rollout != nil {
		gauge(m.rollout, 1, driver, string(status.Rollout.Phase))
	}
}
