package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ImageCSIDriverSpec is what an administrator asks for. Every field is optional.
type ImageCSIDriverSpec struct {
	// managementState says what the operator does with the driver. Managed: runs it and repairs it. Unmanaged:
	// leaves every object as it is, for as long as somebody else looks after them. Removed: takes the driver away as
	// if this object were deleted, but keeps this object; like a deletion, it waits until no pod uses a volume of
	// the driver.
	// +kubebuilder:default=Managed
	// +optional
	ManagementState ManagementState `json:"managementState,omitempty"`

	// aliases are further CSI driver names that the same node plugins serve, so that manifests written for another
	// name keep working. Each is a CSI driver name: at most 63 characters in domain form.
	// +kubebuilder:validation:MaxItems=8
	// +listType=set
	// +optional
	Aliases []DriverName `json:"aliases,omitempty"`

	// nodePlugin configures the pods that serve the driver on the nodes.
	// +kubebuilder:default={}
	// +optional
	NodePlugin NodePlugin `json:"nodePlugin,omitempty,omitzero"`

	// nodeClasses changes built-in node classes or adds new ones. The built-in classes are containerd, bottlerocket,
	// talos, flatcar, cos, k3s (with RKE2), k0s, microk8s, crio and openshift. A node belongs to the first class that matches it: added
	// classes come first, in the order given here, then the built-in ones. All ImageCSIDriver objects of a cluster
	// must have the same list, because a node has one class.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	// +optional
	NodeClasses []NodeClass `json:"nodeClasses,omitempty"`

	// volumes holds the defaults of volumes that do not set their own.
	// +kubebuilder:default={}
	// +optional
	Volumes Volumes `json:"volumes,omitempty,omitzero"`

	// credentials are what images are pulled with when a volume brings no credentials of its own, and say who may
	// use images that are on a node already.
	// +kubebuilder:default={}
	// +optional
	Credentials Credentials `json:"credentials,omitempty,omitzero"`

	// security restricts which images may be volumes. The admission policy image-csi-volume-images, which an
	// installation brings, holds new pods and PersistentVolumes to it; those that exist are left alone.
	// +kubebuilder:default={}
	// +optional
	Security Security `json:"security,omitempty,omitzero"`

	// rollout says how a change reaches the nodes.
	// +kubebuilder:default={}
	// +optional
	Rollout Rollout `json:"rollout,omitempty,omitzero"`
}

// ManagementState says what the operator does with a driver.
// +kubebuilder:validation:Enum=Managed;Unmanaged;Removed
type ManagementState string

// The management states.
const (
	// Managed drivers are run and repaired.
	Managed ManagementState = "Managed"
	// Unmanaged drivers are left as they are.
	Unmanaged ManagementState = "Unmanaged"
	// Removed drivers are taken away; the ImageCSIDriver stays.
	Removed ManagementState = "Removed"
)

// DriverName is a CSI driver name (CSI specification, GetPluginInfo; Kubernetes takes lower case only).
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="a CSI driver name has lower-case letters, digits, '-' and '.', and starts and ends each part with a letter or digit, as in image.example.com"
type DriverName string

// NodePlugin configures the pods that serve the driver on the nodes.
type NodePlugin struct {
	// image is the node plugin's container image. Default: the image that this release of the operator was tested
	// with, which is the operator's own.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Image string `json:"image,omitempty"`

	// imagePullPolicy says when a node pulls the node plugin's image.
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	// +kubebuilder:default=IfNotPresent
	// +optional
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// imagePullSecrets names secrets, in the operator's namespace, with which the node plugin's image is pulled.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=name
	// +optional
	ImagePullSecrets []SecretName `json:"imagePullSecrets,omitempty"`

	// resources of the node plugin's container. Default: requests of 10m CPU and 64Mi memory, no limits.
	// +optional
	Resources *Resources `json:"resources,omitempty"`

	// tolerations of the node plugin's pods. Default: every taint is tolerated, because a tainted node may run pods
	// that use images as volumes.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// nodeSelector restricts the nodes that may serve the driver to those with all of these labels. A node that
	// falls out of the selection keeps its node plugin until no pod there uses a volume of the driver. All
	// ImageCSIDriver objects of a cluster must have the same selector, because a node has one class. Default: every
	// Linux node.
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(key, size(key) <= 317)",message="a label key has at most 317 characters"
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.startsWith('imagecsi.dev/'))",message="labels under imagecsi.dev/ are set by the operator and cannot select nodes"
	// +mapType=atomic
	// +optional
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`

	// priorityClassName of the node plugin's pods.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:default=system-node-critical
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// logLevel says how much the node plugin logs: Error, Info, or Debug for every call it serves.
	// +kubebuilder:default=Info
	// +optional
	LogLevel LogLevel `json:"logLevel,omitempty"`

	// compatibilityMetrics says whether the node plugin also serves the four warm_metal_* metrics of the container image
	// CSI driver of before, at the same port and path as its own, for dashboards and alerts that know them.
	// +kubebuilder:default=Disabled
	// +optional
	CompatibilityMetrics CompatibilityMetrics `json:"compatibilityMetrics,omitempty"`
}

// CompatibilityMetrics says whether metrics have the names of the driver of before as well.
// +kubebuilder:validation:Enum=Enabled;Disabled
type CompatibilityMetrics string

// Whether there are compatibility metrics.
const (
	CompatibilityMetricsEnabled  CompatibilityMetrics = "Enabled"
	CompatibilityMetricsDisabled CompatibilityMetrics = "Disabled"
)

// LabelValue is the value of a node label.
// +kubebuilder:validation:MaxLength=63
type LabelValue string

// SecretName names a secret in the operator's namespace.
type SecretName struct {
	// name of the secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="a secret's name has lower-case letters, digits, '-' and '.', and starts and ends each part with a letter or digit"
	Name string `json:"name"`
}

// Resources are the compute resources of one container.
type Resources struct {
	// requests are what the scheduler sets aside, e.g. cpu: 10m.
	// +kubebuilder:validation:MaxProperties=8
	// +optional
	Requests corev1.ResourceList `json:"requests,omitempty"`

	// limits are what the container may use at most. A memory limit that is too low ends the node plugin while it
	// serves volumes; pods keep the volumes they have, new ones wait until it is back.
	// +kubebuilder:validation:MaxProperties=8
	// +optional
	Limits corev1.ResourceList `json:"limits,omitempty"`
}

// LogLevel says how much a program logs.
// +kubebuilder:validation:Enum=Error;Info;Debug
type LogLevel string

// The log levels.
const (
	LogError LogLevel = "Error"
	LogInfo  LogLevel = "Info"
	LogDebug LogLevel = "Debug"
)

// Volumes holds the defaults of volumes that do not set their own.
//
// +kubebuilder:validation:XValidation:rule="!has(self.defaultSizeLimit) || !has(self.maxSizeLimit) || quantity(string(self.defaultSizeLimit)).compareTo(quantity(string(self.maxSizeLimit))) <= 0",message="defaultSizeLimit is not larger than maxSizeLimit"
type Volumes struct {
	// pullPolicy says when the image of a volume is pulled, unless the volume's attributes say otherwise.
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
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).isGreaterThan(quantity('0'))",message="maxImageSize is greater than 0; leave it out for no limit"
	// +optional
	MaxImageSize *resource.Quantity `json:"maxImageSize,omitempty"`

	// defaultSizeLimit is how much a writable volume may hold beside its image, e.g. 1Gi, unless its attribute
	// sizeLimit says otherwise. Limits are project quotas: a node whose kubelet directory is not on ext4 or XFS
	// mounted with prjquota refuses every volume that has one. A volume that was written before without a limit
	// stays without. Default: maxSizeLimit.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Mi')) >= 0",message="defaultSizeLimit is at least 1Mi; leave it out for no limit"
	// +optional
	DefaultSizeLimit *resource.Quantity `json:"defaultSizeLimit,omitempty"`

	// maxSizeLimit is the largest sizeLimit that a writable volume may ask for, e.g. 10Gi; a volume that asks for
	// more is refused. Without defaultSizeLimit it is the limit of volumes that ask for none. Default: no limit.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Mi')) >= 0",message="maxSizeLimit is at least 1Mi; leave it out for no limit"
	// +optional
	MaxSizeLimit *resource.Quantity `json:"maxSizeLimit,omitempty"`

	// maxVolumesPerNode is how many volumes of the driver the scheduler puts on one node. It counts PersistentVolumes
	// and no inline volumes, because the scheduler does so. Default: as many mounts as the node's kernel allows
	// (sysctl fs.mount-max).
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	MaxVolumesPerNode *int32 `json:"maxVolumesPerNode,omitempty"`
}

// Credentials are for every volume of the driver.
type Credentials struct {
	// secrets names secrets, in the operator's namespace, of type kubernetes.io/dockerconfigjson or
	// kubernetes.io/dockercfg. The node plugins try those that match an image's registry, the longest path first,
	// after the credentials in the volume's own nodePublishSecretRef. Everyone who may create pods can use every
	// image that these secrets open. A secret may be missing, and one that changes counts within about a minute,
	// without a restart.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	// +optional
	Secrets []SecretName `json:"secrets,omitempty"`

	// providers are the kubelet's credential provider plugins: programs on the nodes that hand out credentials. A
	// container of its own in each node plugin's pod, without privileges, runs them for images that the credentials
	// of the volume and the secrets above do not open. Default: none are run.
	// +optional
	Providers *CredentialProviders `json:"providers,omitempty"`

	// verification says for which images on a node the registry has to confirm that a volume's credentials open
	// them. NeverVerifyPreloadedImages: for those that this driver pulled with credentials. AlwaysVerify: for all,
	// whoever brought them; new volumes then need the registry once. NeverVerify: for none. The names are those of
	// the kubelet's imagePullCredentialsVerificationPolicy.
	// +kubebuilder:default=NeverVerifyPreloadedImages
	// +optional
	Verification Verification `json:"verification,omitempty"`
}

// CredentialProviders says where the nodes have the kubelet's credential provider plugins. Every node of the driver must
// have both paths: without them, the node plugin's pod does not start there.
// +kubebuilder:validation:XValidation:rule="self.configPath != self.binDir",message="configPath and binDir are two different paths"
type CredentialProviders struct {
	// configPath is a CredentialProviderConfig of the kubelet on the nodes (its --image-credential-provider-config),
	// JSON or YAML, readable for all. Providers that require annotations of service accounts are refused.
	ConfigPath HostPath `json:"configPath"`

	// configType says what configPath is. File: one file, which has to be changed in place to count without a
	// restart of the pod. Directory: a directory of files named *.json, *.yaml and *.yml.
	// +kubebuilder:default=File
	// +optional
	ConfigType ConfigType `json:"configType,omitempty"`

	// binDir is the directory of the providers' programs on the nodes (the kubelet's
	// --image-credential-provider-bin-dir). The programs must be static, and executable for all.
	BinDir HostPath `json:"binDir"`

	// tokenAudiences are the audiences for which pods' service account tokens are handed to providers that ask for
	// them in tokenAttributes. Needs Kubernetes 1.35; before, such providers get no token.
	// +kubebuilder:validation:MaxItems=8
	// +listType=set
	// +optional
	TokenAudiences []TokenAudience `json:"tokenAudiences,omitempty"`
}

// ConfigType says what a path of a configuration is.
// +kubebuilder:validation:Enum=File;Directory
type ConfigType string

// The types of a configuration's path.
const (
	// ConfigFile is a single file.
	ConfigFile ConfigType = "File"
	// ConfigDirectory is a directory of files.
	ConfigDirectory ConfigType = "Directory"
)

// TokenAudience is for whom a service account token is.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
type TokenAudience string

// Verification says for which images on a node a volume's credentials are verified.
// +kubebuilder:validation:Enum=NeverVerify;NeverVerifyPreloadedImages;AlwaysVerify
type Verification string

// The verification policies.
const (
	// NeverVerify gives every image on a node to every volume.
	NeverVerify Verification = "NeverVerify"
	// NeverVerifyPreloadedImages verifies for images that the driver pulled with credentials.
	NeverVerifyPreloadedImages Verification = "NeverVerifyPreloadedImages"
	// AlwaysVerify verifies for every image.
	AlwaysVerify Verification = "AlwaysVerify"
)

// Security restricts which images may be volumes.
type Security struct {
	// allowedImages lists the repositories whose images may be volumes, in full: registry.example.com/team/tools is one
	// repository, registry.example.com/team/ with a slash at the end is all beneath that path. Default: every image.
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +optional
	AllowedImages []AllowedImage `json:"allowedImages,omitempty"`

	// imagePinning says whether volumes have to name their image by digest. Optional: no. Digest: yes, so that a tag
	// that moves cannot bring other content.
	// +kubebuilder:default=Optional
	// +optional
	ImagePinning ImagePinning `json:"imagePinning,omitempty"`
}

// AllowedImage is a repository, or a path of repositories with a slash at its end, with its registry's host.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9-]+([.][a-z0-9-]+)+(:[0-9]+)?|[a-z0-9-]+:[0-9]+|localhost)(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?$') && self.contains('/')",message="an allowed image is a repository with its registry's host and without tag or digest, as in docker.io/library/busybox, or a path that ends with '/', as in registry.example.com/team/"
type AllowedImage string

// ImagePinning says whether volumes have to name their image by digest.
// +kubebuilder:validation:Enum=Optional;Digest
type ImagePinning string

// The kinds of pinning.
const (
	// PinningOptional takes tags and digests.
	PinningOptional ImagePinning = "Optional"
	// PinningDigest takes digests only.
	PinningDigest ImagePinning = "Digest"
)

// Rollout says how a change of the node plugin reaches the nodes: first a few canary nodes, and once these have proved
// it the others, some at a time. A change that fails on a node is taken back everywhere. Mounted volumes stay as they
// are all the while.
// +kubebuilder:validation:XValidation:rule="!has(self.minReadySeconds) || !has(self.progressDeadlineSeconds) || self.minReadySeconds < self.progressDeadlineSeconds",message="minReadySeconds is less than progressDeadlineSeconds"
type Rollout struct {
	// state says whether the operator replaces node plugins. Active: as soon as there is a change. Paused: it stops
	// where it is, neither going on nor taking back; a node plugin that ends for another reason may come back changed.
	// +kubebuilder:default=Active
	// +optional
	State RolloutState `json:"state,omitempty"`

	// canary says which nodes get a change first. Every canary has to serve the driver for minReadySeconds before
	// any other node is touched.
	// +kubebuilder:default={nodes: 1}
	// +optional
	Canary *Canary `json:"canary,omitempty"`

	// maxUnavailable is how many nodes of a class a change may leave without a working node plugin at a time: a
	// number of nodes or a percentage, rounded up. Pods keep the volumes they have meanwhile.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 && self <= 5000 : self.matches('^([1-9][0-9]?|100)%$')",message="maxUnavailable is a number of nodes from 1 to 5000 or a percentage from 1% to 100%"
	// +kubebuilder:default="10%"
	// +optional
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// minReadySeconds is how long a replaced node plugin must be ready and registered before it counts as working.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	// +kubebuilder:default=30
	// +optional
	MinReadySeconds *int32 `json:"minReadySeconds,omitempty"`

	// progressDeadlineSeconds is how long a replaced node plugin may go without being ready and registered; then the
	// change has failed and is taken back. It includes the pull of the node plugin's image.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	// +kubebuilder:default=300
	// +optional
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`
}

// RolloutState says whether the operator replaces node plugins.
// +kubebuilder:validation:Enum=Active;Paused
type RolloutState string

// The states of a rollout that an administrator chooses from.
const (
	// RolloutActive replaces node plugins after a change.
	RolloutActive RolloutState = "Active"
	// RolloutPaused replaces none.
	RolloutPaused RolloutState = "Paused"
)

// Canary says which nodes get a change first.
// +kubebuilder:validation:XValidation:rule="has(self.nodes) != has(self.nodeSelector)",message="canary has either nodes, a number, or nodeSelector, the labels of the canary nodes"
type Canary struct {
	// nodes is the number of canaries in every node class, taken in the order of their names; 0 for none.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Nodes *int32 `json:"nodes,omitempty"`

	// nodeSelector makes every node with all of these labels a canary. While it selects no node of the driver, no
	// change begins.
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(key, size(key) <= 317)",message="a label key has at most 317 characters"
	// +mapType=atomic
	// +optional
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`
}
