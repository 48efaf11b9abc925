package pluginpod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// NodeOf returns the node that a DaemonSet's pod is for, also before it is scheduled: the DaemonSet controller then
// names it in the pod's node affinity.
func NodeOf(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return pod.Spec.NodeName
	}
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil || affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == "metadata.name" && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}

// Problem returns why the node plugin of a pod does not run; both results are empty if it has no problem. A pod that is
// merely starting has none.
func Problem(pod *corev1.Pod) (v1alpha1.ProblemReason, string) {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse && condition.Reason == corev1.PodReasonUnschedulable {
			return v1alpha1.ProblemUnschedulable, fmt.Sprintf("The node plugin's pod %s does not fit on the node: %s", pod.Name, condition.Message)
		}
	}
	for _, container := range pod.Status.ContainerStatuses {
		if waiting := container.State.Waiting; waiting != nil {
			return waitingProblem(pod, container, waiting)
		}
	}
	return "", ""
}

// waitingProblem puts the kubelet's reason for a container that does not run into a sentence. The reasons are those of the
// kubelet's pkg/kubelet/images and pkg/kubelet/kuberuntime.
func waitingProblem(pod *corev1.Pod, container corev1.ContainerStatus, waiting *corev1.ContainerStateWaiting) (v1alpha1.ProblemReason, string) {
	switch waiting.Reason {
	case "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
		return v1alpha1.ProblemImagePull, fmt.Sprintf(
			"The node plugin's image %s cannot be pulled; check spec.nodePlugin.image and imagePullSecrets. %s", container.Image, waiting.Message)
	case "CrashLoopBackOff":
		return v1alpha1.ProblemCrashing, fmt.Sprintf(
			"The node plugin has ended %d times; its pod is %s. %s", container.RestartCount, pod.Name, lastWords(container))
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError", "PostStartHookError":
		return v1alpha1.ProblemCannotStart, fmt.Sprintf("The node plugin's container cannot be started in pod %s: %s", pod.Name, waiting.Message)
	}
	return "", ""
}

// lastWords of a container that has ended: the end of its log.
func lastWords(container corev1.ContainerStatus) string {
	ended := container.LastTerminationState.Terminated
	switch {
	case ended == nil:
		return ""
	case ended.Message != "":
		return "It said last: " + ended.Message
	}
	return fmt.Sprintf("It ended with %s and exit code %d.", ended.Reason, ended.ExitCode)
}

// LastWords of a node plugin that has ended before; empty if it has not.
func LastWords(pod *corev1.Pod) string {
	for _, container := range pod.Status.ContainerStatuses {
		if words := lastWords(container); words != "" {
			return words
		}
	}
	return ""
}
