package v1alpha1

// ImageCSIDriverSpec is what an administrator asks for. Every field is optional.
type ImageCSIDriverSpec struct {
	// managementState is what the operator does with the driver. Managed: runs it and repairs it. Unmanaged: changes
	// nothing, so that you can look after its objects yourself. Removed: removes the driver as if this object were
	// deleted, but keeps this object; as with a deletion, the driver leaves a node when no pod there uses its volumes.
	// +kubebuilder:default=Managed
	// +optional
	ManagementState ManagementState `json:"managementState,omitempty"`

	// volumesInUse is what happens to a node on which a pod uses a volume of the driver when the driver is removed (by
	// deletion or managementState), an alias is dropped, or the node's class changes. Wait: the node stays as it is until
	// no pod there uses one. Ignore: the change goes on at once. Pods then keep running with what they have mounted, but
	// it is not unmounted until a node plugin of the driver is back on the node: a deleted pod stays Terminating, and a
	// pod that starts, also after a reboot of the node, does not get its volume. status.ignoredPods names such pods.
	// +kubebuilder:default=Wait
	// +optional
	VolumesInUse VolumesInUse `json:"volumesInUse,omitempty"`

	// aliases are further CSI driver names that the same node plugins serve, so that manifests written for another
	// name keep working. Each is a CSI driver name: at most 63 characters in domain form. A name that is removed from the
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

	// credentials are what images are pulled with when a volume brings no credentials of its own, and control who may
	// use images that are on a node already.
	// +kubebuilder:default={}
	// +optional
	Credentials Credentials `json:"credentials,omitempty,omitzero"`

	// security restricts which images may be volumes. The admission policy image-csi-volume-images, which an
	// installation brings, checks new pods and PersistentVolumes; those that exist are left alone.
	// +kubebuilder:default={}
	// +optional
	Security Security `json:"security,omitempty,omitzero"`

	// nestedSandboxes prepares the nodes for pods whose containers make sandboxes of their own: the node plugins put a seccomp profile on
	// every node, which status.nestedSandboxes names. Default: no profile. Profiles stay on the nodes when this is removed, because pods
	// may have them.
	// +optional
	NestedSandboxes *NestedSandboxes `json:"nestedSandboxes,omitempty"`

	// rollout controls how a change reaches the nodes.
	// +kubebuilder:default={}
	// +optional
	Rollout Rollout `json:"rollout,omitempty,omitzero"`
}

// ManagementState is what the operator does with a driver.
// +kubebuilder:validation:Enum=Managed;Unmanaged;Removed
type ManagementState string

// The management states.
const (
	// Managed drivers are run and repaired.
	Managed ManagementState = "Managed"
	// Unmanaged drivers are left as they are.
	Unmanaged ManagementState = "Unmanaged"
	// Removed drivers are removed; the ImageCSIDriver stays.
	Removed ManagementState = "Removed"
)

// VolumesInUse is what happens where pods use volumes of a driver that is to leave.
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
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="a CSI driver name must consist of lower-case letters, digits, '-' and '.', and each part must start and end with a letter or digit, as in image.example.com"
type DriverName string

// LabelKey is the key of a node label or taint.
// +kubebuilder:validation:MaxLength=317
// +kubebuilder:validation:XValidation:rule="size(self) == 0 || self.indexOf('/') <= 253 && self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')",message="a key must be a name of at most 63 letters, digits, '-', '_' and '.' that starts and ends with a letter or digit, and may have a DNS name and '/' before it, as in example.com/pool"
type LabelKey string

// LabelValue is the value of a node label or taint.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",message="a label value must consist of letters, digits, '-', '_' and '.', and must start and end with a letter or digit"
type LabelValue string

// SecretName names a secret in the node plugins' namespace.
type SecretName struct {
	// name of the secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="a secret's name must consist of lower-case letters, digits, '-' and '.', and each part must start and end with a letter or digit"
	Name string `json:"name"`
}
