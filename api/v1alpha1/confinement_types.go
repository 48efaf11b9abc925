package v1alpha1

// Confinement is what the node plugins of a class may do.
type Confinement struct {
	// container is the privilege of the node plugin's container.
	Container ContainerPrivilege `json:"container"`

	// capabilities that the process keeps while it serves, sorted. A container that is not privileged also has those with which
	// the process enters the node's mount namespace at its start; a privileged one has every capability until the process has
	// dropped the others.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=32
	// +listType=atomic
	// +optional
	Capabilities []string `json:"capabilities,omitempty"`

	// seccompProfiles are the filters of system calls, all of which hold. Process: the one that the process puts on itself once
	// it serves. RuntimeDefault: the container runtime's. Localhost/PATH: a file beneath the kubelet's directory for profiles.
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MaxLength=512
	// +listType=atomic
	// +optional
	SeccompProfiles []string `json:"seccompProfiles,omitempty"`

	// appArmorProfile of the container, on nodes with AppArmor: Unconfined, RuntimeDefault, or Localhost/NAME.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	AppArmorProfile string `json:"appArmorProfile,omitempty"`

	// seLinuxType of the container's process, on nodes with SELinux, such as spc_t. Empty: the container runtime chooses, as it
	// does for every container.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	SELinuxType string `json:"seLinuxType,omitempty"`

	// volumeSELinuxType is the type of the files of volumes, on nodes with SELinux.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	VolumeSELinuxType string `json:"volumeSELinuxType,omitempty"`

	// network of the pods. Host: they share the node's.
	// +optional
	Network NodeNetwork `json:"network,omitempty"`

	// looser are fields of the DaemonSet that others have changed, so that it confines its node plugins less than the operator
	// asks. Fields that the operator sets itself it puts back, unless spec.managementState is Unmanaged.
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=320
	// +listType=atomic
	// +optional
	Looser []string `json:"looser,omitempty"`

	// tighter are changes that would confine the node plugins more, and what they take.
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MaxLength=512
	// +listType=atomic
	// +optional
	Tighter []string `json:"tighter,omitempty"`
}

// ContainerPrivilege is whether a container may do everything on its node.
// +kubebuilder:validation:Enum=Privileged;Unprivileged
type ContainerPrivilege string

const (
	// ContainerPrivileged may, until its process confines itself.
	ContainerPrivileged ContainerPrivilege = "Privileged"

	// ContainerUnprivileged has what its security context lists.
	ContainerUnprivileged ContainerPrivilege = "Unprivileged"
)
