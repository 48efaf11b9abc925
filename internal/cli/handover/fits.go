package handover

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedule "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// Fits reports whether a DaemonSet's pods run on a node, as its controller sees it, but for the KeepLabel.
func Fits(set *appsv1.DaemonSet, node *corev1.Node) bool {
	spec := set.Spec.Template.Spec.DeepCopy()
	delete(spec.NodeSelector, KeepLabel)
	matches, err := nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: *spec}).Match(node)
	if err != nil || !matches {
		return false
	}
	_, tainted := schedule.FindMatchingUntoleratedTaint(klog.Logger{}, node.Spec.Taints, append(spec.Tolerations, ofController(spec.HostNetwork)...), func(taint *corev1.Taint) bool {
		return taint.Effect != corev1.TaintEffectPreferNoSchedule
	}, true)
	return !tainted
}

// ofController are the tolerations that every pod of a DaemonSet gets.
func ofController(hostNetwork bool) []corev1.Toleration {
	keys := []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeDiskPressure, corev1.TaintNodeMemoryPressure,
		corev1.TaintNodePIDPressure, corev1.TaintNodeUnschedulable}
	if hostNetwork {
		keys = append(keys, corev1.TaintNodeNetworkUnavailable)
	}
	out := make([]corev1.Toleration, 0, len(keys))
	for _, key := range keys {
		out = append(out, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists})
	}
	return out
}
