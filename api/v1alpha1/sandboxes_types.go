package v1alpha1

// NestedSandboxes prepares nodes for pods whose containers make sandboxes.
type NestedSandboxes struct {
	// engine is the program that makes the sandboxes. Bubblewrap: bubblewrap, and what makes no other system calls than it.
	// +kubebuilder:default=Bubblewrap
	// +optional
	Engine SandboxEngine `json:"engine,omitempty"`
}

// SandboxEngine is a program that makes sandboxes.
// +kubebuilder:validation:Enum=Bubblewrap
type SandboxEngine string

// Bubblewrap makes a sandbox with the system calls clone, mount, pivot_root, umount2 and unshare.
const Bubblewrap SandboxEngine = "Bubblewrap"

// NestedSandboxesStatus is what pods that make sandboxes need.
type NestedSandboxesStatus struct {
	// seccompProfile is what such a container has as seccompProfile.localhostProfile. The profile is on every node of the classes that are
	// prepared. While another one is on its way to the nodes, this is the one before.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SeccompProfile string `json:"seccompProfile"`
}

// ClassSandboxes is whether pods on nodes of a class can make sandboxes.
type ClassSandboxes struct {
	// state of the class. Prepared: the profile is on every node of the class, and nothing that the operator knows of them speaks
	// against sandboxes. Preparing: the profile is on its way. Unsupported: sandboxes with image volumes do not work there.
	State SandboxState `json:"state"`

	// message is why the class is not prepared, and what to do.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Message string `json:"message,omitempty"`
}

// SandboxState is how far the nodes of a class are.
// +kubebuilder:validation:Enum=Prepared;Preparing;Unsupported
type SandboxState string

const (
	// SandboxesPrepared nodes have the profile.
	SandboxesPrepared SandboxState = "Prepared"
	// SandboxesPreparing nodes get it.
	SandboxesPreparing SandboxState = "Preparing"
	// SandboxesUnsupported nodes cannot run such pods, or mount no image volumes for them.
	SandboxesUnsupported SandboxState = "Unsupported"
)
