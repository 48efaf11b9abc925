package imagevolumes

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Volume is an image volume of a pod, with what names it in events.
type Volume struct {
	document.Volume
	// Attributes as the manifest or the PersistentVolume has them.
	Attributes map[string]string
	// Secret named in nodePublishSecretRef; empty for none.
	Secret string
	// Events is how the kubelet's events call the volume: its name in the pod, or its PersistentVolume's.
	Event string
	// Bound reports whether the volume's claim, if it has one, has its PersistentVolume.
	Bound bool
}

// Of returns the image volumes of a pod, in the pod's order.
func Of(cluster seen.Cluster, pod *corev1.Pod) (found []Volume) {
	names := cluster.Names()
	for i := range pod.Spec.Volumes {
		v, ok := one(cluster, names, pod, &pod.Spec.Volumes[i])
		if !ok {
			continue
		}
		v.Namespace, v.Pod, v.Name, v.Node = pod.Namespace, pod.Name, pod.Spec.Volumes[i].Name, pod.Spec.NodeName
		v.State, v.Message, v.Times = stateOf(cluster, pod, v)
		found = append(found, v)
	}
	return found
}

// one returns one volume of a pod, and whether it is an image volume.
func one(cluster seen.Cluster, names []string, pod *corev1.Pod, volume *corev1.Volume) (Volume, bool) {
	switch {
	case volume.CSI != nil:
		v := inline(volume.Name, volume.CSI)
		return v, isOurs(names, volume.CSI.Driver, volume.CSI.VolumeAttributes)
	case volume.PersistentVolumeClaim != nil:
		return claimed(cluster, names, pod.Namespace, volume.PersistentVolumeClaim.ClaimName)
	case volume.Ephemeral != nil:
		return claimed(cluster, names, pod.Namespace, pod.Name+"-"+volume.Name)
	default:
		return Volume{}, false
	}
}

// isOurs reports whether a volume is one of the drivers'. Who may not read drivers still knows the default names. No other kind of volume
// has the attribute image, so one that names a driver that does not exist is a mistake of those that this is about.
func isOurs(names []string, driver string, attributes map[string]string) bool {
	if slices.Contains(names, driver) || driver == contract.DefaultDriverName || driver == contract.LegacyEarlierDriverName {
		return true
	}
	return attributes[contract.ImageAttribute] != ""
}

func inline(name string, source *corev1.CSIVolumeSource) Volume {
	v := Volume{Attributes: source.VolumeAttributes, Event: name, Bound: true}
	v.Driver, v.Access = source.Driver, document.ReadWrite
	if source.ReadOnly != nil && *source.ReadOnly {
		v.Access = document.ReadOnly
	}
	if source.NodePublishSecretRef != nil {
		v.Secret = source.NodePublishSecretRef.Name
	}
	v.Image = imageOf(source.VolumeAttributes, "")
	v.Form, v.SizeLimit = source.VolumeAttributes[contract.FormAttribute], source.VolumeAttributes[contract.SizeLimitAttribute]
	return v
}

// imageOf returns the image as the manifest names it.
func imageOf(attributes map[string]string, handle string) string {
	return cmp.Or(attributes[contract.VolumeHandleAttribute], attributes[contract.ImageAttribute], handle)
}

// claimed returns the volume of a claim, and whether it is an image volume. Who may not read PersistentVolumes knows the claim's
// annotation only.
func claimed(cluster seen.Cluster, names []string, namespace, name string) (Volume, bool) {
	at := slices.IndexFunc(cluster.Claims, func(c corev1.PersistentVolumeClaim) bool { return c.Namespace == namespace && c.Name == name })
	if at < 0 {
		return Volume{}, false
	}
	claim := &cluster.Claims[at]
	v := Volume{Event: claim.Spec.VolumeName, Bound: claim.Status.Phase == corev1.ClaimBound}
	v.Claim, v.Access, v.Image = name, document.ReadOnly, claim.Annotations[contract.ImageAnnotation]
	for i := range cluster.Volumes {
		source := cluster.Volumes[i].Spec.CSI
		if cluster.Volumes[i].Name != claim.Spec.VolumeName || source == nil {
			continue
		}
		v.Driver, v.Attributes, v.Image = source.Driver, source.VolumeAttributes, imageOf(source.VolumeAttributes, source.VolumeHandle)
		v.Form = source.VolumeAttributes[contract.FormAttribute]
		if source.NodePublishSecretRef != nil {
			v.Secret = source.NodePublishSecretRef.Name
		}
		return v, isOurs(names, source.Driver, source.VolumeAttributes)
	}
	provisioner := provisionerOf(cluster, claim)
	if isOurs(names, provisioner, nil) {
		v.Driver = provisioner
		return v, true
	}
	return v, v.Image != "" || mayBe(cluster, claim)
}

// mayBe reports whether a claim of which only the claim may be read looks like an image's: nobody provisioned its volume, and it can be
// read only.
func mayBe(cluster seen.Cluster, claim *corev1.PersistentVolumeClaim) bool {
	return cluster.Missed(seen.Volumes) == seen.Forbidden && provisionerOf(cluster, claim) == "" &&
		slices.Equal(claim.Spec.AccessModes, []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany})
}

// provisionerOf returns who makes the volume of a claim; empty if that is not known.
func provisionerOf(cluster seen.Cluster, claim *corev1.PersistentVolumeClaim) string {
	if name := claim.Annotations["volume.kubernetes.io/storage-provisioner"]; name != "" {
		return name
	}
	for i := range cluster.Classes {
		if claim.Spec.StorageClassName != nil && cluster.Classes[i].Name == *claim.Spec.StorageClassName {
			return cluster.Classes[i].Provisioner
		}
	}
	return ""
}
