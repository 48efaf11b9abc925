package render

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Labels that a scrape adds to the node plugins' metrics.
const (
	metricDriver = "driver"
	metricNode   = "node"
	metricClass  = "node_class"
)

// podMonitor has Prometheus scrape the driver's node plugins.
func podMonitor(driver *v1alpha1.ImageCSIDriver, settings Settings) *unstructured.Unstructured {
	monitor := PodMonitor().object(driver, settings.Namespace, bounded(driver.Name+"-node-plugin"))
	monitor.Object["spec"] = map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{nameLabel: appName, contract.DriverLabel: driver.Name}},
		"podMetricsEndpoints": []any{map[string]any{
			"port": portName,
			"path": contract.MetricsPath,
			"relabelings": []any{
				relabeling("__meta_kubernetes_pod_label_imagecsi_dev_driver", metricDriver),
				relabeling("__meta_kubernetes_pod_label_imagecsi_dev_node_class", metricClass),
				relabeling("__meta_kubernetes_pod_node_name", metricNode),
			},
		}},
	}
	return monitor
}

// relabeling names the default action, which the API server fills into a list that is the operator's as a whole.
func relabeling(source, target string) map[string]any {
	return map[string]any{"sourceLabels": []any{source}, "targetLabel": target, "action": "replace"}
}

// runbooks is the page with a section for each alert.
const runbooks = "https://github.com/image-csi/image-csi-operator/blob/main/docs/runbooks.md#"

// prometheusRule holds the driver's alerts.
func prometheusRule(driver *v1alpha1.ImageCSIDriver, settings Settings) *unstructured.Unstructured {
	rule := PrometheusRule().object(driver, settings.Namespace, bounded(driver.Name+"-alerts"))
	var rules []any
	for _, alert := range alerts(driver.Name) {
		rules = append(rules, alert.rule())
	}
	rule.Object["spec"] = map[string]any{"groups": []any{map[string]any{
		"name": fmt.Sprintf("image-csi-operator/%s", driver.Name), "rules": rules,
	}}}
	return rule
}
