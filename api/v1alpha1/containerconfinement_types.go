package v1alpha1

// ContainerConfinement is what confines the node plugin's container from outside, beside what the process does to itself. A field that is
// left out is chosen by the operator.
type ContainerConfinement struct {
	// seccompProfile of the container. Default: RuntimeDefault, or the profile of spec.nodePlugin.seccompProfile: Narrow.
	// +optional
	SeccompProfile *ContainerSeccompProfile `json:"seccompProfile,omitempty"`

	// appArmorProfile of the container. Default: Unconfined, because the container runtimes' default profiles deny every mount,
	// and because kubelets take no other value on nodes without AppArmor.
	// +optional
	AppArmorProfile *ContainerAppArmorProfile `json:"appArmorProfile,omitempty"`

	// seLinuxOptions of the container. Default: type spc_t and level s0. On operating systems with an SELinux policy of their own
	// (Bottlerocket, Talos): the container runtime's choice.
	// +optional
	SELinuxOptions *ContainerSELinuxOptions `json:"seLinuxOptions,omitempty"`

	// dropCapabilities are capabilities that the node plugin does without, and with it what pods may do with writable volumes. Without
	// MKNOD, pods can make no device nodes there and change none of the image's; without SETFCAP, the same of files with capabilities;
	// without FSETID, files lose their set-group-ID bit where their owner is not in the group. Default: none. A class with an empty list
	// drops none.
	// +kubebuilder:validation:MaxItems=3
	// +listType=set
	// +optional
	DropCapabilities []DroppableCapability `json:"dropCapabilities,omitempty"`

	// volumeSELinuxOptions are parts of the label that the files of volumes show on nodes with SELinux. Default: type container_file_t
	// and level s0, which every container may read.
	// +optional
	VolumeSELinuxOptions *VolumeSELinuxOptions `json:"volumeSELinuxOptions,omitempty"`
}

// DroppableCapability is a capability that a node plugin can do without.
// +kubebuilder:validation:Enum=FSETID;MKNOD;SETFCAP
type DroppableCapability string

// VolumeSELinuxOptions are parts of the label of files.
type VolumeSELinuxOptions struct {
	// type of the files, as in container_ro_file_t. It has to be in the policy of every node of the class, and the node plugin and the
	// pods have to be let use files of it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][A-Za-z0-9_.-]*$')",message="type must be an SELinux type, as in container_ro_file_t"
	Type string `json:"type"`

	// level of the files, as in s0:c1,c2. The default, s0, has no categories, so pods of every category may use them.
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^s[0-9]+(:c[0-9]+([.,]c[0-9]+)*)?$')",message="level must be an SELinux level, as in s0 or s0:c1,c2"
	// +kubebuilder:default=s0
	// +optional
	Level string `json:"level,omitempty"`
}

// ContainerSeccompProfile filters the system calls of a container.
// +kubebuilder:validation:XValidation:rule="(self.type == 'Localhost') == has(self.localhostProfile)",message="localhostProfile must be set with type Localhost, and with no other type"
type ContainerSeccompProfile struct {
	// type of the profile. RuntimeDefault: the container runtime's. Localhost: a file of the node.
	Type ContainerSeccompProfileType `json:"type"`

	// localhostProfile is the path of the file beneath the kubelet's directory for seccomp profiles, as in operator/node-plugin.json. It has to be
	// on every node of the class, or the node plugin does not start there.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._@+-]+(/[A-Za-z0-9._@+-]+)*$') && !self.matches('(^|/)[.][.]?(/|$)')",message="localhostProfile must be a relative path of letters, digits and '._@+-', without '.' and '..', as in operator/node-plugin.json"
	// +optional
	LocalhostProfile string `json:"localhostProfile,omitempty"`
}

// ContainerSeccompProfileType is where a seccomp profile comes from.
// +kubebuilder:validation:Enum=RuntimeDefault;Localhost
type ContainerSeccompProfileType string

// ContainerAppArmorProfile confines a container on nodes with AppArmor.
// +kubebuilder:validation:XValidation:rule="(self.type == 'Localhost') == has(self.localhostProfile)",message="localhostProfile must be set with type Localhost, and with no other type"
type ContainerAppArmorProfile struct {
	// type of the profile. Unconfined: none. Localhost: one that is loaded on the node.
	Type ContainerAppArmorProfileType `json:"type"`

	// localhostProfile is the name of the profile. It has to be loaded on every node of the class, and has to let the node plugin mount.
	// The node plugin does not start on a node without it, or without AppArmor.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9/][A-Za-z0-9._/@+-]*$') && self != 'unconfined'",message="localhostProfile must be the name of an AppArmor profile, of letters, digits and '._/@+-', as in team-node-plugin"
	// +optional
	LocalhostProfile string `json:"localhostProfile,omitempty"`
}

// ContainerAppArmorProfileType is where an AppArmor profile comes from.
// +kubebuilder:validation:Enum=Localhost;Unconfined
type ContainerAppArmorProfileType string

// ContainerSELinuxOptions are parts of a container's label on nodes with SELinux.
type ContainerSELinuxOptions struct {
	// type of the process, as in spc_t. It has to be in the policy of every node of the class, and has to let the node plugin mount.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][A-Za-z0-9_.-]*$')",message="type must be an SELinux type, as in spc_t"
	Type string `json:"type"`

	// level of the process, as in s0:c1,c2. The default, s0, has no categories.
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^s[0-9]+(:c[0-9]+([.,]c[0-9]+)*)?(-s[0-9]+(:c[0-9]+([.,]c[0-9]+)*)?)?$')",message="level must be an SELinux level, as in s0, s0:c1,c2 or s0-s0:c0.c1023"
	// +kubebuilder:default=s0
	// +optional
	Level string `json:"level,omitempty"`
}

// Where profiles come from.
const (
	// SeccompProfileRuntimeDefault is the profile of the container runtime.
	SeccompProfileRuntimeDefault ContainerSeccompProfileType = "RuntimeDefault"
	// SeccompProfileLocalhost is a file of the node.
	SeccompProfileLocalhost ContainerSeccompProfileType = "Localhost"
	// AppArmorProfileLocalhost is a profile that is loaded on the node.
	AppArmorProfileLocalhost ContainerAppArmorProfileType = "Localhost"
	// AppArmorProfileUnconfined is no profile.
	AppArmorProfileUnconfined ContainerAppArmorProfileType = "Unconfined"
)
