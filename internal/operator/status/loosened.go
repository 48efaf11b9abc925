package status

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
)

// ReasonLessConfined is the reason of the condition Degraded while a DaemonSet confines its node plugins less than they are told.
const ReasonLessConfined = "LessConfined"

// maxLooserField bounds what is said of one field: its value is somebody else's.
const maxLooserField = 256

// looser returns the fields of a DaemonSet with which it confines its node plugins less than they are told.
func looser(daemonSet *appsv1.DaemonSet) []string {
	pod := &daemonSet.Spec.Template.Spec
	var out []string
	for _, container := range pod.Containers {
		if container.Name != render.ContainerName {
			continue
		}
		out = append(out, security.LoosenedPod(pod, render.NetworkOf(container))...)
		if told, is := render.ToldOf(container); is {
			for _, field := range security.Loosened(container.SecurityContext, told, render.AccessOf(container)) {
				out = append(out, "securityContext."+field)
			}
		}
	}
	for i := range out {
		out[i] = Shorten(out[i], maxLooserField)
	}
	return first(out, v1alpha1.MaxLooserFields)
}

// lessConfined returns the condition Degraded of a driver with a DaemonSet that confines its node plugins less than they are told.
func lessConfined(seen Observation) (metav1.Condition, bool) {
	at := slices.IndexFunc(seen.DaemonSets, func(d appsv1.DaemonSet) bool { return len(looser(&d)) > 0 })
	if at < 0 {
		return metav1.Condition{}, false
	}
	daemonSet := &seen.DaemonSets[at]
	return condition(v1alpha1.ConditionDegraded, true, ReasonLessConfined,
		"DaemonSet %s has been changed and confines its node plugins less than the operator asks: %s. Undo the change there; the managed fields of the object tell who made it (kubectl get --show-managed-fields).",
		daemonSet.Name, strings.Join(looser(daemonSet), "; ")), true
}
