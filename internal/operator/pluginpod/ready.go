package pluginpod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Ready reports whether a node plugin's readiness probe passes, and when that last changed, by the kubelet's clock: the zero
// time if the kubelet has not reported it yet.
func Ready(pod *corev1.Pod) (is bool, turned time.Time) {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue, condition.LastTransitionTime.Time
		}
	}
	return false, time.Time{}
}
