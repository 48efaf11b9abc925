package pluginpod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Ready says whether a node plugin's readiness probe passes, and since when that has been so. A pod of which the kubelet
// has said nothing yet has not been ready since its creation, and no answer is older than the pod: the times are of
// different clocks.
func Ready(pod *corev1.Pod) (is bool, since time.Time) {
	since = pod.CreationTimestamp.Time
	for _, condition := range pod.Status.Conditions {
		if condition.Type != corev1.PodReady {
			continue
		}
		if condition.LastTransitionTime.After(since) {
			since = condition.LastTransitionTime.Time
		}
		return condition.Status == corev1.ConditionTrue, since
	}
	return false, since
}
