package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// SizeLimitFallback is what happens to a volume that a node's file system cannot limit.
// +kubebuilder:validation:Enum=Refuse;Memory
type SizeLimitFallback string

const (
	// FallbackRefuse refuses to mount it.
	FallbackRefuse SizeLimitFallback = "Refuse"

	// FallbackMemory keeps what its pod writes in memory.
	FallbackMemory SizeLimitFallback = "Memory"
)

// Access is what pods may do with volumes.
// +kubebuilder:validation:Enum=ReadWrite;ReadOnly
type Access string

const (
	// AccessReadWrite lets a pod write to its inline volume, unless the volume is read-only.
	AccessReadWrite Access = "ReadWrite"

	// AccessReadOnly refuses volumes that are not read-only.
	AccessReadOnly Access = "ReadOnly"
)

// OtherPlatforms is what happens to images that were built for another platform than a node's.
// +kubebuilder:validation:Enum=Refuse;Mount
type OtherPlatforms string

const (
	// OtherPlatformsRefuse refuses to mount them.
	OtherPlatformsRefuse OtherPlatforms = "Refuse"

	// OtherPlatformsMount mounts them like any other.
	OtherPlatformsMount OtherPlatforms = "Mount"
)

// Volumes holds the defaults of volumes that do not set their own.
//
// Every rule looks at the form of an amount before quantity() computes with it: its cost is in the value (package
// internal/quantity), and neither the schema's pattern nor CEL's cost budget comes before it. The one that compares two looks
// for long exponents only, because servers of 1.31 estimate a match by the longest request.
//
// +kubebuilder:validation:XValidation:rule="!has(self.defaultSizeLimit) || !has(self.maxSizeLimit) || string(self.defaultSizeLimit).matches('[eE]...') || string(self.maxSizeLimit).matches('[eE]...') || !isQuantity(string(self.defaultSizeLimit)) || !isQuantity(string(self.maxSizeLimit)) || quantity(string(self.defaultSizeLimit)).compareTo(quantity(string(self.maxSizeLimit))) <= 0",message="defaultSizeLimit must not exceed maxSizeLimit"
type Volumes struct {
	// access controls whether pods may write to their inline volumes. ReadOnly: a volume without readOnly: true is refused, and
	// the node plugin runs without the capabilities that only writable volumes take. Volumes that are mounted stay as they are
	// until their pod ends or the node restarts. PersistentVolumes are always read-only.
	// +kubebuilder:default=ReadWrite
	// +optional
	Access Access `json:"access,omitempty"`

	// pullPolicy controls when the image of a volume is pulled, unless the volume's attributes set another policy.
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	// +kubebuilder:default=IfNotPresent
	// +optional
	PullPolicy corev1.PullPolicy `json:"pullPolicy,omitempty"`

	// maxParallelPulls is how many images one node pulls for volumes at the same time.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	// +kubebuilder:default=4
	// +optional
	MaxParallelPulls int32 `json:"maxParallelPulls,omitempty"`

	// maxImageSize is the size of the largest image that may be a volume, e.g. 20Gi, as the node's runtime counts it:
	// containerd counts the compressed layers, CRI-O the unpacked ones. Runtimes tell the size after the download,
	// so a larger image is pulled, refused, and removed again unless it was on the node before; it is pulled again
	// after an hour at the earliest. Mounted volumes stay. Default: no limit.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="string(self).matches('^([0-9]+[.]?[0-9]*|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][0-9]{1,2})?$') && quantity(string(self)).isGreaterThan(quantity('0')) && quantity(string(self)).compareTo(quantity('1Ei')) <= 0",message="maxImageSize must be greater than 0 and at most 1Ei, such as 20Gi; leave it out for no limit"
	// +optional
	MaxImageSize *resource.Quantity `json:"maxImageSize,omitempty"`

	// defaultSizeLimit is how much a writable volume may hold beside its image, e.g. 1Gi, unless its attribute sizeLimit
	// sets another limit. Limits are project quotas. Where a node's kubelet directory is not on ext4 or XFS mounted with
	// prjquota, sizeLimitFallback applies. A volume that was written before without a limit stays without. Default:
	// maxSizeLimit.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="string(self).matches('^([0-9]+[.]?[0-9]*|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][0-9]{1,2})?$') && quantity(string(self)).compareTo(quantity('1Mi')) >= 0 && quantity(string(self)).compareTo(quantity('1Ei')) <= 0",message="defaultSizeLimit must be at least 1Mi and at most 1Ei, such as 10Gi; leave it out for no limit"
	// +optional
	DefaultSizeLimit *resource.Quantity `json:"defaultSizeLimit,omitempty"`

	// maxSizeLimit is the largest sizeLimit that a writable volume may ask for, e.g. 10Gi; a volume that asks for
	// more is refused. Without defaultSizeLimit it is the limit of volumes that ask for none. Default: no limit.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="string(self).matches('^([0-9]+[.]?[0-9]*|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][0-9]{1,2})?$') && quantity(string(self)).compareTo(quantity('1Mi')) >= 0 && quantity(string(self)).compareTo(quantity('1Ei')) <= 0",message="maxSizeLimit must be at least 1Mi and at most 1Ei, such as 10Gi; leave it out for no limit"
	// +optional
	MaxSizeLimit *resource.Quantity `json:"maxSizeLimit,omitempty"`

	// sizeLimitFallback is what happens to a volume with a size limit on a node whose kubelet directory has no project
	// quotas. Refuse: it is not mounted, and its pod's events say why. Memory: what the pod writes is kept in memory, up to
	// the limit. It counts against the pod's own memory limit, and is lost when the node reboots. Existing volumes stay as
	// they are.
	// +kubebuilder:default=Refuse
	// +optional
	SizeLimitFallback SizeLimitFallback `json:"sizeLimitFallback,omitempty"`

	// otherPlatforms is what happens to an image whose configuration names another operating system or architecture than
	// the node's. From an index of images, runtimes choose by platform, and it does not apply. Refuse: the image is not
	// mounted, and its pod's events say why. Mount: it is mounted; meant for images of data, whose builders had to name a
	// platform. Mounted volumes stay.
	// +kubebuilder:default=Refuse
	// +optional
	OtherPlatforms OtherPlatforms `json:"otherPlatforms,omitempty"`

	// maxVolumesPerNode is how many volumes of the driver the scheduler puts on one node. It counts PersistentVolumes
	// and no inline volumes, because the scheduler does so. Default: as many mounts as the node's kernel allows
	// (sysctl fs.mount-max).
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	MaxVolumesPerNode *int32 `json:"maxVolumesPerNode,omitempty"`
}
