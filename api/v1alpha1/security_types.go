package v1alpha1

// Security restricts which images may be volumes. Node plugins refuse to mount others. A change takes effect after about a
// minute, which the kubelets need to bring it to the nodes. Mounted volumes stay. With the policies of config/admission,
// pods and PersistentVolumes that name other images are refused when they are created, too; what an image holds is known
// at the node only.
type Security struct {
	// allowedImages lists the repositories whose images may be volumes, in full: registry.example.com/team/tools is one
	// repository, registry.example.com/team/ with a slash at the end is all beneath that path. Default: every image.
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	// +optional
	AllowedImages []AllowedImage `json:"allowedImages,omitempty"`

	// imagePinning controls whether volumes have to name their image by digest. Optional: no. Digest: yes, so that a tag
	// that moves cannot bring other content.
	// +kubebuilder:default=Optional
	// +optional
	ImagePinning ImagePinning `json:"imagePinning,omitempty"`

	// refusedContent lists kinds of files that an image must not hold to be a volume, because they can give a process more
	// rights than its pod has. SetIDFiles: programs that run as their owner or group. FileCapabilities: programs that run with
	// capabilities. DeviceNodes: devices of the node. Node plugins look once through the files of each image, as its volumes
	// show them, before they mount the first one. Default: none is refused.
	// +kubebuilder:validation:MaxItems=3
	// +listType=set
	// +optional
	RefusedContent []ImageContent `json:"refusedContent,omitempty"`
}

// AllowedImage is a repository, or a path of repositories with a slash at its end, with its registry's host.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9-]+([.][a-z0-9-]+)+(:[0-9]+)?|[a-z0-9-]+:[0-9]+|localhost)(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?$') && self.contains('/')",message="an allowed image must be a repository with its registry's host and without tag or digest, as in docker.io/library/busybox, or a path that ends with '/', as in registry.example.com/team/"
type AllowedImage string

// ImagePinning controls whether volumes have to name their image by digest.
// +kubebuilder:validation:Enum=Optional;Digest
type ImagePinning string

// The kinds of pinning.
const (
	// PinningOptional takes tags and digests.
	PinningOptional ImagePinning = "Optional"
	// PinningDigest takes digests only.
	PinningDigest ImagePinning = "Digest"
)

// ImageContent is a kind of file that can give a process more rights than its pod has.
// +kubebuilder:validation:Enum=SetIDFiles;FileCapabilities;DeviceNodes
type ImageContent string

// The kinds of files.
const (
	// SetIDFiles are regular files with the set-user-ID or the set-group-ID bit.
	SetIDFiles ImageContent = "SetIDFiles"
	// FileCapabilities are regular files with capabilities.
	FileCapabilities ImageContent = "FileCapabilities"
	// DeviceNodes are character and block devices.
	DeviceNodes ImageContent = "DeviceNodes"
)
