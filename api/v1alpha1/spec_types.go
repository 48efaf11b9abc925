package v1alpha1

// ImageCSIDriverSpec is what an administrator asks for. Every field is optional.
type ImageCSIDriverSpec struct {
	// managementState says what the operator does with the driver. Managed: runs it and repairs it. Unmanaged:
	// leaves every object as it is, for as long as somebody else looks after them. Removed: takes the driver away as
	// if this object were deleted, but keeps this object; like a deletion, it leaves a node when no pod there uses a
	// volume of the driver.
	// +kubebuilder:default=Managed
	// +optional
	ManagementState ManagementState `json:"managementState,omitempty"`

	// volumesInUse says what happens where a pod uses a volume of the driver when the driver is taken away (by
	// deletion or managementState), an alias is dropped, or the node's class changes. Wait: the node stays as it is until no pod there does.
	// Ignore: it goes on at once. Pods then keep running with what they have mounted, but nobody unmounts it until a
	// node plugin of the driver is back on the node: a pod that is deleted stays Terminating, and one that starts, or
	// starts again after the node does, does not get its volume. status.ignoredPods names such pods.
	// +kubebuilder:default=Wait
	// +optional
	VolumesInUse VolumesInUse `json:"volumesInUse,omitempty"`

	// aliases are further CSI driver names that the same node plugins serve, so that manifests written for another
	// name keep working. Each is a CSI driver name: at most 63 characters in domain form. A name that is taken off the
	// list is served until no pod uses a volume by it, or another ImageCSIDriver has it.
	// +kubebuilder:validation:MaxItems=8
	// +listType=set
	// +optional
	Aliases []DriverName `json:"aliases,omitempty"`

	// nodePlugin configures the pods that serve the driver on the nodes.
	// +kubebuilder:default={}
	// +optional
	NodePlugin NodePlugin `json:"nodePlugin,omitempty,omitzero"`

	// nodeClasses changes built-in node classes or adds new ones. The built-in classes are containerd, bottlerocket,
	// talos, flatcar, cos, k3s, rke2, k0s, microk8s, crio and openshift. A node belongs to the first class that matches it: added
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

// VolumesInUse says what happens where pods use volumes of a driver that is to leave.
// +kubebuilder:validation:Enum=Wait;Ignore
type VolumesInUse string

// What happens where pods use volumes.
const (
	// VolumesWait leaves the node as it is until no pod there uses one.
	VolumesWait VolumesInUse = "Wait"
	// VolumesIgnore goes on at once.
	VolumesIgnore VolumesInUse = "Ignore"
)

// DriverName is a CSI driver name (CSI specification, GetPluginInfo; Kubernetes takes lower case only).
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="a CSI driver name has lower-case letters, digits, '-' and '.', and starts and ends each part with a letter or digit, as in image.example.com"
type DriverName string

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
