package status

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
	"github.com/image-csi/image-csi-operator/internal/operator/recheck"
	"github.com/image-csi/image-csi-operator/internal/operator/rollout"
)

// Began returns when a node and its node plugin last began: joined, came back after a reboot, were made, or turned ready or
// not ready. These are others' clocks: good enough to put a condition off by minutes, and for nothing else.
func Began(node *corev1.Node, pods []*corev1.Pod) time.Time {
	last := node.CreationTimestamp.Time
	later := func(other time.Time) {
		if other.After(last) {
			last = other
		}
	}
	if ready := placement.ReadyCondition(node); ready != nil && ready.Status == corev1.ConditionTrue {
		later(ready.LastTransitionTime.Time)
	}
	for _, pod := range pods {
		_, turned := pluginpod.Ready(pod)
		later(pod.CreationTimestamp.Time)
		later(turned)
	}
	return last
}

// Starting counts the nodes that do not serve the driver and need not yet: they began within progressDeadlineSeconds, and
// nothing about them fails. It also returns how long until the first of them has had its time, or 0.
//
// They do not turn Available to False, because a fleet that grows and shrinks always has some. They do not turn it to True
// either: while it is False, only nodes that joined since then are left out. For a driver that is not reconciled again after a
// time, no node is left out.
func Starting(before []metav1.Condition, seen Observation, now time.Time) (nodes int32, next time.Duration) {
	was := meta.FindStatusCondition(before, v1alpha1.ConditionAvailable)
	if was == nil || seen.Removal != "" || seen.Refusal != nil || seen.Driver.Spec.ManagementState == v1alpha1.Unmanaged {
		return 0, 0
	}
	deadline := rollout.Deadline(seen.Driver.Spec.Rollout)
	failing := podProblems(seen)
	for _, node := range seen.Nodes {
		began := node.Began
		if was.Status != metav1.ConditionTrue {
			began = node.CreationTimestamp.Time
			if !began.After(was.LastTransitionTime.Time) {
				continue
			}
		}
		_, fails := failing[node.Name]
		left := deadline - max(0, now.Sub(began))
		if fails || left <= 0 || !node.Eligible() || node.Serves(seen.Driver.Name) {
			continue
		}
		nodes++
		next = recheck.Sooner(next, left)
	}
	return nodes, next
}
