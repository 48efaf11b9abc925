package simulatedfleet

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pod returns the pod that the DaemonSet controller makes for a node. It has no service account and no priority class, which
// nothing makes on such an API server.
func Pod(daemonSet *appsv1.DaemonSet, node string) *corev1.Pod {
	template := daemonSet.Spec.Template.DeepCopy()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: daemonSet.Namespace, GenerateName: daemonSet.Name + "-", Labels: template.Labels},
		Spec: template.Spec}
	pod.Spec.NodeName = node
	pod.Spec.ServiceAccountName, pod.Spec.PriorityClassName = "", ""
	pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}}}}}
	return pod
}

// Run gives a pod the status of one that runs and is ready. Where waits has a reason, its containers wait for that instead, and
// it is not ready.
func Run(pod *corev1.Pod, waits corev1.ContainerStateWaiting) {
	now := metav1.Now()
	is, state := corev1.ConditionTrue, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
	if waits.Reason != "" {
		is, state = corev1.ConditionFalse, corev1.ContainerState{Waiting: &waits}
	} else {
		pod.Status.Phase = corev1.PodRunning
	}
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now},
		{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: now},
		{Type: corev1.ContainersReady, Status: is, LastTransitionTime: now},
		{Type: corev1.PodReady, Status: is, LastTransitionTime: now},
	}
	pod.Status.ContainerStatuses = nil
	for _, container := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: container.Name, Image: container.Image,
			Ready: waits.Reason == "", State: state})
	}
}

// Ready reports whether a pod is ready.
func Ready(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
