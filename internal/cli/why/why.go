package why

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/imagevolumes"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// Pod returns why a pod waits for its image volumes.
func Pod(cluster seen.Cluster, namespace, name string) document.Why {
	w := document.Why{Subject: "pod/" + name, Namespace: namespace, Unread: cluster.Unread}
	at := slices.IndexFunc(cluster.Pods, func(p corev1.Pod) bool { return p.Namespace == namespace && p.Name == name })
	if at < 0 {
		return noPod(cluster, w, name)
	}
	pod := &cluster.Pods[at]
	waiting := 0
	for _, volume := range imagevolumes.Of(cluster, pod) {
		q := question{cluster, pod, volume}
		w.Volumes = append(w.Volumes, volume.Volume)
		w.Notes = append(w.Notes, notes(q)...)
		if volume.State != document.VolumeMounted && volume.State != document.VolumeEnded {
			waiting++
		}
		if cause, found := causeOf(q); found {
			w.Causes = append(w.Causes, cause)
		}
	}
	w.Causes = once(w.Causes)
	w.Summary = summary(pod, len(w.Volumes), waiting)
	if len(w.Volumes) > 0 && waiting == 0 && len(w.Causes) == 0 {
		w.Notes = append(w.Notes, elsewhere(pod)...)
	}
	return document.NewWhy(w)
}

// causeOf returns why a volume keeps its pod waiting, and whether that is known.
func causeOf(q question) (document.Cause, bool) {
	for _, r := range podRows() {
		if said, is := r.is(q); is {
			return r.fill(q, said), true
		}
	}
	switch q.volume.State {
	case document.VolumeUnbound:
		return unbound(q), true
	case document.VolumeFailed:
		return failed(q), true
	case document.VolumeWaiting:
		if unregistered(q) {
			return absent(q, ""), true
		}
	}
	return document.Cause{}, false
}

// unregistered reports whether the kubelet of the pod's node has not registered the driver. A node that never had a CSI driver may have no
// CSINode.
func unregistered(q question) bool {
	registered, known := q.cluster.Registered(q.pod.Spec.NodeName, q.volume.Driver)
	return !registered && q.pod.Spec.NodeName != "" && (known || q.cluster.Missed(seen.CSINodes) == "")
}

// failed returns the cause that an error of a mount shows.
func failed(q question) document.Cause {
	said := q.volume.Message
	r, found := ofError(said)
	switch {
	case !found:
		return other().fill(q, said)
	case r.id == "DriverAbsent":
		return absent(q, said)
	case r.id == "AccessDenied":
		r.do = openImage(q)
	}
	return r.fill(q, said)
}

// other is the cause of an error that no row knows.
func other() row {
	return row{"Other", "the volume cannot be mounted; the error has more", []string{plugin}, seeFails}
}

// once drops a cause that an earlier volume has, too, where it is about the pod.
func once(causes []document.Cause) []document.Cause {
	return slices.CompactFunc(causes, func(a, b document.Cause) bool {
		return a.ID == b.ID && (a.ID == "NotScheduled" || a.ID == "StartupTaint")
	})
}

func summary(pod *corev1.Pod, volumes, waiting int) string {
	subject := fmt.Sprintf("Pod %s/%s", pod.Namespace, pod.Name)
	if pod.Spec.NodeName != "" {
		subject += " on node " + pod.Spec.NodeName
	}
	switch {
	case volumes == 0:
		return subject + " has no image volumes."
	case waiting == 0:
		return fmt.Sprintf("%s waits for none of its %d image volumes.", subject, volumes)
	default:
		return fmt.Sprintf("%s waits for %d of %d image volumes.", subject, waiting, volumes)
	}
}

// elsewhere says what a pod waits for whose image volumes are mounted.
func elsewhere(pod *corev1.Pod) (found []string) {
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i]; s.State.Waiting != nil {
			found = append(found, strings.TrimRight(fmt.Sprintf("container %s waits: %s %s", s.Name, s.State.Waiting.Reason, s.State.Waiting.Message), " "))
		}
	}
	return found
}
