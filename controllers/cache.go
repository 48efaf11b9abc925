package controllers

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// CacheOptions keep the cache small: of nodes and their registrations only what is read, of everything else only the
// objects that carry the label of a driver. Managed fields stay on the objects that the operator applies, because
// they tell what it owns.
func CacheOptions(namespace string) cache.Options {
	ours := labelled()
	here := map[string]cache.Config{namespace: {}}
	return cache.Options{ByObject: map[client.Object]cache.ByObject{
		&v1alpha1.ImageCSIDriver{}: {Transform: cache.TransformStripManagedFields()},
		&corev1.Node{}:             {Transform: trimNode},
		&storagev1.CSINode{}:       {Transform: trimCSINode},
		&corev1.Pod{}:              {Namespaces: here, Label: ours, Transform: trimPod},
		&appsv1.DaemonSet{}:        {Namespaces: here, Label: ours},
		&corev1.ServiceAccount{}:   {Namespaces: here, Label: ours},
		&storagev1.CSIDriver{}:     {Label: ours},
		definitionMetadata():       {Transform: trimDefinition},
	}}
}

// labelled selects the objects that carry the label of a driver.
func labelled() labels.Selector {
	ours := labels.NewSelector()
	if requirement, err := labels.NewRequirement(contract.DriverLabel, selection.Exists, nil); err == nil {
		ours = ours.Add(*requirement)
	}
	return ours
}

// trimDefinition keeps which definition this is, and whether it is on its way out.
func trimDefinition(object any) (any, error) {
	definition, is := object.(*metav1.PartialObjectMetadata)
	if !is {
		return object, nil
	}
	trimmed := &metav1.PartialObjectMetadata{TypeMeta: definition.TypeMeta}
	trimmed.Name, trimmed.UID, trimmed.ResourceVersion = definition.Name, definition.UID, definition.ResourceVersion
	trimmed.DeletionTimestamp = definition.DeletionTimestamp
	return trimmed, nil
}

// trimNode keeps a node's name, age, labels, taints of ours and software, and whether its kubelet reports.
func trimNode(object any) (any, error) {
	node, is := object.(*corev1.Node)
	if !is {
		return object, nil
	}
	info := node.Status.NodeInfo
	trimmed := &corev1.Node{Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{
		OperatingSystem: info.OperatingSystem, OSImage: info.OSImage,
		KubeletVersion: info.KubeletVersion, ContainerRuntimeVersion: info.ContainerRuntimeVersion,
	}}}
	trimmed.Name, trimmed.UID, trimmed.ResourceVersion = node.Name, node.UID, node.ResourceVersion
	trimmed.Labels, trimmed.CreationTimestamp = node.Labels, node.CreationTimestamp
	for _, taint := range node.Spec.Taints {
		if strings.HasPrefix(taint.Key, contract.Prefix) {
			trimmed.Spec.Taints = append(trimmed.Spec.Taints, taint)
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			trimmed.Status.Conditions = []corev1.NodeCondition{{
				Type: condition.Type, Status: condition.Status, LastTransitionTime: condition.LastTransitionTime}}
		}
	}
	return trimmed, nil
}

// trimCSINode keeps the names of the registered drivers, and of which node it tells them.
func trimCSINode(object any) (any, error) {
	node, is := object.(*storagev1.CSINode)
	if !is {
		return object, nil
	}
	trimmed := &storagev1.CSINode{}
	trimmed.Name, trimmed.UID, trimmed.ResourceVersion = node.Name, node.UID, node.ResourceVersion
	if owner := ownerNode(node); owner != "" {
		trimmed.OwnerReferences = []metav1.OwnerReference{{Kind: nodeKind, UID: owner}}
	}
	for _, driver := range node.Spec.Drivers {
		trimmed.Spec.Drivers = append(trimmed.Spec.Drivers, storagev1.CSINodeDriver{Name: driver.Name})
	}
	return trimmed, nil
}

// trimPod keeps what tells whether a node plugin runs and where: of one that runs well, little more than that.
func trimPod(object any) (any, error) {
	pod, is := object.(*corev1.Pod)
	if !is {
		return object, nil
	}
	trimmed := &corev1.Pod{}
	trimmed.Name, trimmed.Namespace, trimmed.UID, trimmed.ResourceVersion = pod.Name, pod.Namespace, pod.UID, pod.ResourceVersion
	trimmed.CreationTimestamp, trimmed.DeletionTimestamp, trimmed.Labels = pod.CreationTimestamp, pod.DeletionTimestamp, pod.Labels
	if trimmed.Spec.NodeName = pod.Spec.NodeName; trimmed.Spec.NodeName == "" {
		trimmed.Spec.Affinity = pod.Spec.Affinity // It names the node of a pod that waits for the scheduler.
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled || condition.Type == corev1.PodReady {
			trimmed.Status.Conditions = append(trimmed.Status.Conditions, condition)
		}
	}
	for _, container := range pod.Status.ContainerStatuses {
		if container.State.Running != nil && container.LastTerminationState.Terminated == nil {
			continue
		}
		trimmed.Status.ContainerStatuses = append(trimmed.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, RestartCount: container.RestartCount,
			State: container.State, LastTerminationState: container.LastTerminationState,
		})
	}
	return trimmed, nil
}
