package controllers

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// updates lets through every creation and deletion, and the updates for which differs is true.
func updates[T client.Object](differs func(before, after T) bool) predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, okBefore := e.ObjectOld.(T)
		after, okAfter := e.ObjectNew.(T)
		return okBefore && okAfter && differs(before, after)
	}}
}

// driverChanges lets through changes of a driver's spec, its deletion, and its finalizers, whose end frees its names.
// The operator's own writes of its status are none of these.
func driverChanges() predicate.Predicate {
	return updates(func(before, after *v1alpha1.ImageCSIDriver) bool {
		return before.Generation != after.Generation || before.UID != after.UID ||
			!before.DeletionTimestamp.Equal(after.DeletionTimestamp) ||
			!equality.Semantic.DeepEqual(before.Finalizers, after.Finalizers)
	})
}

// nodeChanges lets through changes of a node's labels, its taints of ours (the cache holds no others) and its software,
// whether its kubelet reports, and another node that came under its name; a heartbeat changes none of these.
func nodeChanges() predicate.Predicate {
	return updates(func(before, after *corev1.Node) bool {
		reportedBefore, _ := reports(before)
		reportsAfter, _ := reports(after)
		return before.UID != after.UID || !maps.Equal(before.Labels, after.Labels) || before.Status.NodeInfo != after.Status.NodeInfo ||
			reportedBefore != reportsAfter || !equality.Semantic.DeepEqual(before.Spec.Taints, after.Spec.Taints)
	})
}

// registrationChanges lets through changes of the drivers that a kubelet has registered, or of the node that it is for.
func registrationChanges() predicate.Predicate {
	return updates(func(before, after *storagev1.CSINode) bool {
		return ownerNode(before) != ownerNode(after) || !registeredDrivers(before).Equal(registeredDrivers(after))
	})
}

// pluginPodChanges lets through what the cache keeps of a node plugin's pod, which is what tells why it does not run.
func pluginPodChanges() predicate.Predicate {
	return updates(func(before, after *corev1.Pod) bool {
		return !equality.Semantic.DeepEqual(before.Status, after.Status) || before.Spec.NodeName != after.Spec.NodeName ||
			!before.DeletionTimestamp.Equal(after.DeletionTimestamp)
	})
}
