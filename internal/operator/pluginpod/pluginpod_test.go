package pluginpod

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

func TestNodeOfAPendingPodIsInItsAffinity(t *testing.T) {
	p := &corev1.Pod{}
	p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"a"}}}}}}}}
	if got := NodeOf(p); got != "a" {
		t.Errorf("NodeOf = %q", got)
	}
}

func TestReady(t *testing.T) {
	turned := time.Unix(1000, 0)
	for status, want := range map[corev1.ConditionStatus]bool{corev1.ConditionTrue: true, corev1.ConditionFalse: false, corev1.ConditionUnknown: false} {
		pod := &corev1.Pod{}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
			{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(turned)}}
		if is, when := Ready(pod); is != want || !when.Equal(turned) {
			t.Errorf("%s: Ready = %v, turned %v", status, is, when)
		}
	}
	if is, when := Ready(&corev1.Pod{}); is || !when.IsZero() {
		t.Errorf("nothing said yet: Ready = %v, turned %v", is, when)
	}
}

func TestAProblemHasTheNodesOwnWords(t *testing.T) {
	ended := func(message string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 2, Message: message}}
	}
	tests := map[string]struct {
		waiting, said string
		last          corev1.ContainerState
		reason        v1alpha1.ProblemReason
		words         string
	}{
		"image":          {"ImagePullBackOff", "manifest unknown", corev1.ContainerState{}, v1alpha1.ProblemImagePull, "manifest unknown"},
		"crash":          {"CrashLoopBackOff", "back-off", ended("no such flag"), v1alpha1.ProblemCrashing, "It said last: no such flag"},
		"crash, silent":  {"CrashLoopBackOff", "back-off", ended(""), v1alpha1.ProblemCrashing, "exit code 2"},
		"cannot start":   {"CreateContainerError", "no space left", corev1.ContainerState{}, v1alpha1.ProblemCannotStart, "no space left"},
		"still starting": {"ContainerCreating", "", corev1.ContainerState{}, "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{}
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Image: "example.com/plugin:v1", LastTerminationState: test.last,
				State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: test.waiting, Message: test.said}}}}
			reason, message := Problem(pod)
			if reason != test.reason || !strings.Contains(message, test.words) {
				t.Errorf("%s: %q, want %s with %q", reason, message, test.reason, test.words)
			}
		})
	}
}
