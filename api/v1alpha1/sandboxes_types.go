package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	// prepared. While another one is being rolled out, this is the earlier one.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SeccompProfile string `json:"seccompProfile"`
}

// ClassSandboxes is whether pods on nodes of a class can make sandboxes.
type ClassSandboxes struct {
	// state of the class. Proven: on every node of the class, the operator has had a pod make a sandbox, and it held. Prepared: the
	// profile is on every node of the class, and some nodes are not proven. Preparing: the profile is on its way. Unsupported: sandboxes
	// with image volumes do not work there.
	State SandboxState `json:"state"`

	// message is why the class is not prepared, and what to do.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Message string `json:"message,omitempty"`

	// proven is the number of nodes on which a sandbox was made and held, and which therefore have the label
	// imagecsi.dev.node-restriction.kubernetes.io/sandboxes=bubblewrap. A node is tried again when its kernel, its container runtime, its
	// kubelet or the profile changes, and when its label imagecsi.dev/sandbox-probe is removed.
	// +kubebuilder:validation:Minimum=0
	// +optional
	Proven int32 `json:"proven,omitempty"`

	// lastProbeTime is when the operator last had a result of a node of the class.
	// +optional
	LastProbeTime *metav1.Time `json:"lastProbeTime,omitempty"`

	// refusals are why other nodes of the class cannot run sandboxes, by reason, the most frequent first; at most 8 are listed.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=reason
	// +optional
	Refusals []SandboxRefusal `json:"refusals,omitempty"`
}

// MaxSandboxRefusals is the number of reasons that a class's status lists.
const MaxSandboxRefusals = 8

// SandboxRefusal is why some nodes of a class cannot run sandboxes.
type SandboxRefusal struct {
	// reason for which no sandbox can be made, or none holds.
	Reason SandboxReason `json:"reason"`

	// nodes is the number of nodes for which it is so.
	// +kubebuilder:validation:Minimum=0
	Nodes int32 `json:"nodes"`

	// node is the name of one of them.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Node string `json:"node,omitempty"`

	// message is the cause, and what to do.
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message"`
}

// SandboxReason is why a node cannot run sandboxes. The first five are found without a probe's pod, or because it does not start; the
// others are what the pod reports.
// +kubebuilder:validation:Enum=SELinux;KernelTooOld;RuntimeTooOld;RuntimeWithoutUserNamespaces;NotStarted;UserNamespacesForbidden;UserNamespaceLimit;AppArmorRestriction;ProcMasked;NotIsolated;NotConfined;StepFailed;Unreadable
type SandboxReason string

const (
	// SandboxSELinux is a node whose operating system has an SELinux policy without a type for containers that make sandboxes.
	SandboxSELinux SandboxReason = "SELinux"
	// SandboxKernelTooOld is a node whose kernel maps no users of mounts.
	SandboxKernelTooOld SandboxReason = "KernelTooOld"
	// SandboxRuntimeTooOld is a node whose container runtime runs no pods with users of their own.
	SandboxRuntimeTooOld SandboxReason = "RuntimeTooOld"
	// SandboxRuntimeWithoutUserNamespaces is a node whose container runtime reports that it runs none.
	SandboxRuntimeWithoutUserNamespaces SandboxReason = "RuntimeWithoutUserNamespaces"
	// SandboxNotStarted is a node on which the probe's pod has not come to an end in time.
	SandboxNotStarted SandboxReason = "NotStarted"
	// SandboxUserNamespacesForbidden is a node on which the container may make no user namespace.
	SandboxUserNamespacesForbidden SandboxReason = "UserNamespacesForbidden"
	// SandboxUserNamespaceLimit is a node that has no room for one more user namespace.
	SandboxUserNamespaceLimit SandboxReason = "UserNamespaceLimit"
	// SandboxAppArmorRestriction is a node whose AppArmor restricts unprivileged user namespaces.
	SandboxAppArmorRestriction SandboxReason = "AppArmorRestriction"
	// SandboxProcMasked is a node on which /proc of the container is masked although the pod asks otherwise.
	SandboxProcMasked SandboxReason = "ProcMasked"
	// SandboxNotIsolated is a node on which the sandbox does not hold.
	SandboxNotIsolated SandboxReason = "NotIsolated"
	// SandboxNotConfined is a node on which the container is not confined as the pod asks.
	SandboxNotConfined SandboxReason = "NotConfined"
	// SandboxStepFailed is a node on which another step failed.
	SandboxStepFailed SandboxReason = "StepFailed"
	// SandboxUnreadable is a node whose probe's pod ended and reported nothing that the operator knows.
	SandboxUnreadable SandboxReason = "Unreadable"
)

// SandboxState is how far the nodes of a class are.
// +kubebuilder:validation:Enum=Proven;Prepared;Preparing;Unsupported
type SandboxState string

const (
	// SandboxesProven nodes have run a sandbox.
	SandboxesProven SandboxState = "Proven"
	// SandboxesPrepared nodes have the profile.
	SandboxesPrepared SandboxState = "Prepared"
	// SandboxesPreparing nodes get it.
	SandboxesPreparing SandboxState = "Preparing"
	// SandboxesUnsupported nodes cannot run such pods, or mount no image volumes for them.
	SandboxesUnsupported SandboxState = "Unsupported"
)
