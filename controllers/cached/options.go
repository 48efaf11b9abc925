// Package cached says what the operator keeps in memory of the cluster, and reads from it what several controllers need.
package cached

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers/nodecache"
	"github.com/image-csi/image-csi-operator/controllers/served"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Options keep the cache small. Nodes, their CSINodes and node plugins' pods are trimmed to nodecache's types, which no
// client can read. CSIDrivers are cached whole, because those of others may conflict with a driver's. Everything else is
// cached only if it carries the label of a driver. Managed fields stay on the objects that the operator applies, because they
// tell what it owns.
func Options(namespace string) cache.Options {
	ours := Labelled()
	here := map[string]cache.Config{namespace: {}}
	return cache.Options{ByObject: map[client.Object]cache.ByObject{
		&v1alpha1.ImageCSIDriver{}:  {Transform: cache.TransformStripManagedFields()},
		&corev1.Node{}:              {Transform: nodecache.TrimNode},
		&storagev1.CSINode{}:        {Transform: nodecache.TrimCSINode},
		&corev1.Pod{}:               {Namespaces: here, Label: ours, Transform: nodecache.TrimPod},
		&appsv1.DaemonSet{}:         {Namespaces: here, Label: ours},
		&corev1.ServiceAccount{}:    {Namespaces: here, Label: ours},
		&corev1.ConfigMap{}:         {Namespaces: here, Label: ours},
		&storagev1.CSIDriver{}:      {},
		served.DefinitionMetadata(): {Transform: trimDefinition},
	}}
}

// Labelled selects the objects that carry the label of a driver.
func Labelled() labels.Selector {
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
