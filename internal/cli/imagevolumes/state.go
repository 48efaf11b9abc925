package imagevolumes

import (
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// stateOf returns the state of a volume. If its latest mount failed, also with which error and how often.
func stateOf(cluster seen.Cluster, pod *corev1.Pod, v Volume) (state document.VolumeState, message string, times int32) {
	switch {
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return document.VolumeEnded, "", 0
	case hasStarted(pod):
		return document.VolumeMounted, "", 0
	case !v.Bound:
		return document.VolumeUnbound, "", 0
	}
	if event := latestFailure(cluster.Events, pod, v.Event); event != nil {
		return document.VolumeFailed, Error(event.Message), event.Count
	}
	return document.VolumeWaiting, "", 0
}

// hasStarted reports whether the pod's volumes are mounted: the kubelet makes no sandbox, and starts no container, before.
func hasStarted(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	statuses := append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...)
	for i := range statuses {
		if s := &statuses[i]; s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil {
			return true
		}
	}
	return false
}

// latestFailure returns the latest event of a failed mount of a volume; nil if there is none.
func latestFailure(events []corev1.Event, pod *corev1.Pod, volume string) (latest *corev1.Event) {
	for i := range events {
		e := &events[i]
		if IsOf(e, pod) && e.Reason == "FailedMount" && strings.Contains(e.Message, `for volume "`+volume+`"`) && (latest == nil || When(latest).Before(When(e))) {
			latest = e
		}
	}
	return latest
}

// IsOf reports whether an event is a pod's, and not an earlier one's of the same name.
func IsOf(e *corev1.Event, pod *corev1.Pod) bool {
	return e.InvolvedObject.Kind == "Pod" && e.Namespace == pod.Namespace && e.InvolvedObject.Name == pod.Name &&
		(e.InvolvedObject.UID == pod.UID || e.InvolvedObject.UID == "")
}

// When returns the time at which an event was last seen.
func When(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	default:
		return e.CreationTimestamp.Time
	}
}

// wrapping is what the kubelet puts before an error.
var wrapping = regexp.MustCompile(`^MountVolume\.\S+ failed for volume "[^"]*" : (?:rpc error: code = (\w+) desc = )?`)

// Error returns the error in the kubelet's event of a failed mount, without the kubelet's own words before it.
func Error(message string) string { return strings.TrimSpace(wrapping.ReplaceAllString(message, "")) }
