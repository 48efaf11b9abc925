package volumeuse

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Volumes are the volumes of a set of CSI driver names.
type Volumes struct {
	names  sets.Set[string]
	claims sets.Set[types.NamespacedName]
}

// Of returns the volumes of some CSI driver names: inline volumes only, until Add adds PersistentVolumes.
func Of(names []string) Volumes {
	return Volumes{names: sets.New(names...), claims: sets.New[types.NamespacedName]()}
}

// Add adds a PersistentVolume, if it is one of the driver's and bound to a claim.
func (v Volumes) Add(persistent *corev1.PersistentVolume) {
	source, claim := persistent.Spec.CSI, persistent.Spec.ClaimRef
	if source != nil && claim != nil && v.names.Has(source.Driver) {
		v.claims.Insert(types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name})
	}
}

// UsedBy reports whether a pod uses one of the volumes on its node now. A pod without a node has no volumes yet, and a pod
// that has ended has none any more. A pod that has ended and is being deleted may still have some: the kubelet lets it go
// when all are unmounted.
func (v Volumes) UsedBy(pod *corev1.Pod) bool {
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if pod.Spec.NodeName == "" || (ended && pod.DeletionTimestamp == nil) {
		return false
	}
	for i := range pod.Spec.Volumes {
		if v.isOne(pod, &pod.Spec.Volumes[i]) {
			return true
		}
	}
	return false
}

func (v Volumes) isOne(pod *corev1.Pod, volume *corev1.Volume) bool {
	switch {
	case volume.CSI != nil:
		return v.names.Has(volume.CSI.Driver)
	case volume.PersistentVolumeClaim != nil:
		return v.claims.Has(types.NamespacedName{Namespace: pod.Namespace, Name: volume.PersistentVolumeClaim.ClaimName})
	case volume.Ephemeral != nil:
		// The claim of a generic ephemeral volume is named after the pod and the volume (Kubernetes documentation,
		// "Ephemeral Volumes").
		return v.claims.Has(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name + "-" + volume.Name})
	}
	return false
}
