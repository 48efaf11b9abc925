package native

import (
	"cmp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/imagevolumes"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Volumes decides for each image volume of the pods that have not ended.
func Volumes(cluster seen.Cluster) document.Native {
	items := []document.NativeVolume{}
	for i := range cluster.Pods {
		pod := &cluster.Pods[i]
		for _, volume := range imagevolumes.Of(cluster, pod) {
			if volume.State != document.VolumeEnded {
				items = append(items, decide(cluster, pod, volume))
			}
		}
	}
	return document.NewNative(cluster.Version, items, cluster.Unread)
}

// verdict is what was found out of one volume so far.
type verdict struct {
	needs, changes []document.NativeReason
	unknown        []document.NativeReason
}

func (v *verdict) need(id document.NativeReasonID, message string) {
	v.needs = append(v.needs, document.NativeReason{ID: id, Message: message})
}

func (v *verdict) change(id document.NativeReasonID, message string) {
	v.changes = append(v.changes, document.NativeReason{ID: id, Message: message})
}

func (v *verdict) cannotTell(message string) {
	v.unknown = append(v.unknown, document.NativeReason{ID: document.NativeUnread, Message: message})
}

// decide weighs one volume. What needs the driver outweighs what is not known, and that outweighs what has to change.
func decide(cluster seen.Cluster, pod *corev1.Pod, volume imagevolumes.Volume) document.NativeVolume {
	var v verdict
	image := fullName(volume.Image)
	if image == "" {
		v.cannotTell("the image that it shows is not known, or is no image reference")
	}
	driver := cluster.DriverOf(volume.Driver)
	switch {
	case driver != nil:
	case cluster.Missed(seen.Drivers) == "":
		v.cannotTell("no ImageCSIDriver serves " + volume.Driver)
	default:
		v.cannotTell("ImageCSIDrivers were not read, so rules, credentials and defaults of its driver are not known")
	}
	v.ofAccess(pod, volume)
	v.ofClaim(volume)
	v.ofCredentials(pod, volume, driver)
	v.ofRules(driver)
	v.ofNodes(cluster, pod, volume)
	d := document.NativeVolume{Namespace: volume.Namespace, Pod: volume.Pod, Name: volume.Name, Claim: volume.Claim, Image: volume.Image,
		Verdict: document.NativePossible, Reasons: slices.Concat(v.needs, v.unknown, v.changes)}
	switch {
	case len(v.needs) > 0:
		d.Verdict = document.NativeNeedsDriver
		return d
	case len(v.unknown) > 0:
		d.Verdict = document.NativeUnknown
		return d
	case len(v.changes) > 0:
		d.Verdict = document.NativeWithChanges
	}
	d.Write = &document.WrittenVolume{Name: volume.Name, Image: document.WrittenImage{Reference: image, PullPolicy: pullPolicy(volume.Attributes, driver)}}
	return d
}

// fullName returns an image's whole name: runtimes complete short ones in their own ways. It is empty for what is no reference.
func fullName(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	return reference.TagNameOnly(named).String()
}

// pullPolicy is the one that holds for the volume today. It is written out, because Kubernetes' default depends on the tag.
func pullPolicy(attributes map[string]string, driver *v1alpha1.ImageCSIDriver) corev1.PullPolicy {
	switch {
	case attributes[contract.PullPolicyAttribute] != "":
		return corev1.PullPolicy(attributes[contract.PullPolicyAttribute])
	case strings.EqualFold(attributes[contract.PullAlwaysAttribute], "true"):
		return corev1.PullAlways
	default:
		return cmp.Or(driver.Spec.Volumes.PullPolicy, corev1.PullIfNotPresent)
	}
}

func (v *verdict) ofAccess(pod *corev1.Pod, volume imagevolumes.Volume) {
	if volume.Access == document.ReadOnly || !writes(pod, volume.Name) {
		return
	}
	v.need(document.NativeWritable, "the pod may write to it, and Kubernetes' own image volumes are read-only; if nothing writes, set readOnly: true and ask again")
}

// writes reports whether a container has the volume without readOnly, or none has it at all yet.
func writes(pod *corev1.Pod, volume string) bool {
	mounts := mountsOf(pod, volume)
	return len(mounts) == 0 || slices.ContainsFunc(mounts, func(m corev1.VolumeMount) bool { return !m.ReadOnly })
}

// mountsOf returns where the pod's containers have a volume.
func mountsOf(pod *corev1.Pod, volume string) (found []corev1.VolumeMount) {
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			for _, m := range containers[i].VolumeMounts {
				if m.Name == volume {
					found = append(found, m)
				}
			}
		}
	}
	return found
}

func (v *verdict) ofClaim(volume imagevolumes.Volume) {
	if volume.Claim != "" {
		v.change(document.NativeClaim, "it comes from claim "+volume.Claim+"; the pod would name the image in its place, and what takes claims only keeps needing this driver")
	}
}

func (v *verdict) ofCredentials(pod *corev1.Pod, volume imagevolumes.Volume, driver *v1alpha1.ImageCSIDriver) {
	if volume.Secret != "" {
		if !slices.ContainsFunc(pod.Spec.ImagePullSecrets, func(r corev1.LocalObjectReference) bool { return r.Name == volume.Secret }) {
			v.change(document.NativeSecret, "name secret "+volume.Secret+" in the pod's imagePullSecrets, and have it in the pod's namespace: nodePublishSecretRef is for CSI volumes only")
		}
		return
	}
	if driver != nil && len(driver.Spec.Credentials.Secrets) > 0 {
		v.change(document.NativeSecret, "if the image is private, name a secret in the pod's imagePullSecrets: the driver's own (spec.credentials.secrets) are for its volumes only")
	}
}

func (v *verdict) ofRules(driver *v1alpha1.ImageCSIDriver) {
	if driver == nil {
		return
	}
	s := driver.Spec.Security
	if len(s.RefusedContent) > 0 {
		v.need(document.NativeRules, "the driver looks into images (spec.security.refusedContent), which nothing does for Kubernetes' own")
	}
	if len(s.AllowedImages) > 0 || s.ImagePinning == v1alpha1.PinningDigest {
		v.change(document.NativeRules, "the driver's rules for images (spec.security) do not hold for it; a policy engine has to check the field image")
	}
	if driver.Spec.Volumes.MaxImageSize != nil {
		v.change(document.NativeRules, "the driver's limit for images (spec.volumes.maxImageSize) does not hold for it")
	}
}

func (v *verdict) ofNodes(cluster seen.Cluster, pod *corev1.Pod, volume imagevolumes.Volume) {
	if cluster.Missed(seen.Nodes) != "" {
		v.cannotTell("you may not list nodes, so what their kubelets and container runtimes can do is not known")
		return
	}
	if len(candidates(cluster, pod)) == 0 {
		v.cannotTell("there is no node with a node class that the pod's nodeSelector chooses")
		return
	}
	reasons, none := ofNodes(cluster, pod, wantedOf(pod, volume.Name))
	if none {
		v.needs = append(v.needs, reasons...)
	} else {
		v.changes = append(v.changes, reasons...)
	}
}

func wantedOf(pod *corev1.Pod, volume string) wanted {
	return wanted{
		subPath:       slices.ContainsFunc(mountsOf(pod, volume), func(m corev1.VolumeMount) bool { return m.SubPath != "" || m.SubPathExpr != "" }),
		userNamespace: pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers,
	}
}
