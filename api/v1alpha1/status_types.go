package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ImageCSIDriverStatus is what the operator found. It is written only when something in it changes.
type ImageCSIDriverStatus struct {
	// observedGeneration is the generation of the spec that was last reconciled without an error.
	// +kubebuilder:validation:Minimum=0
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions: Available reports whether every eligible node serves the driver, Progressing whether a rollout is in
	// progress (reboots and added nodes start none), Degraded whether the driver has a problem that needs action.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// message is that of the condition that matters most at present: of Degraded if it is True, else of Progressing while the driver
	// is on its way or left alone, else of Available. It is cut after 1024 characters.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Message string `json:"message,omitempty"`

	// nodes counts the cluster's nodes.
	// +optional
	Nodes NodeCounts `json:"nodes,omitempty,omitzero"`

	// nodeClasses is the state of the node plugins of each node class that has nodes.
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=name
	// +optional
	NodeClasses []NodeClassStatus `json:"nodeClasses,omitempty"`

	// nestedSandboxes is what pods that make sandboxes need, once it is on the nodes.
	// +optional
	NestedSandboxes *NestedSandboxesStatus `json:"nestedSandboxes,omitempty"`

	// rollout is the progress of the latest change of the node plugin.
	// +optional
	Rollout *RolloutStatus `json:"rollout,omitempty"`

	// ignoredPods are pods that use volumes of the driver and were not waited for, because spec.volumesInUse is Ignore:
	// one for each node, sorted by node; at most 20 are listed. A pod stays listed until a node plugin serves its node
	// again, the node is gone, or spec.volumesInUse is Wait.
	// +kubebuilder:validation:MaxItems=20
	// +listType=map
	// +listMapKey=node
	// +optional
	IgnoredPods []IgnoredPod `json:"ignoredPods,omitempty"`

	// unsupported counts the selected nodes that cannot serve the driver by the reason, sorted.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=reason
	// +optional
	Unsupported []UnsupportedNodes `json:"unsupported,omitempty"`

	// problems is a sample of the nodes that need attention, the worst first.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	Problems []NodeProblem `json:"problems,omitempty"`
}

// NodeCounts counts the cluster's nodes.
type NodeCounts struct {
	// summary is "ready/eligible", for tables.
	// +kubebuilder:validation:MaxLength=32
	// +optional
	Summary string `json:"summary,omitempty"`

	// total is the number of nodes in the cluster.
	// +kubebuilder:validation:Minimum=0
	Total int32 `json:"total"`

	// eligible is the number of nodes that can serve the driver: spec.nodePlugin's selectors select them and their
	// container runtime is supported. A node that the driver has left in a removal does not count.
	// +kubebuilder:validation:Minimum=0
	Eligible int32 `json:"eligible"`

	// ready is the number of eligible nodes whose kubelet has registered the driver (the node's CSINode object
	// lists its name).
	// +kubebuilder:validation:Minimum=0
	Ready int32 `json:"ready"`

	// unsupported is the number of selected nodes that cannot serve the driver; status.unsupported has the reasons.
	// +kubebuilder:validation:Minimum=0
	Unsupported int32 `json:"unsupported"`

	// waiting is the number of nodes that have to change class, or that the driver has to leave, but on which a pod
	// still uses a volume of the driver.
	// +kubebuilder:validation:Minimum=0
	Waiting int32 `json:"waiting"`
}

// NodeClassStatus is the state of the node plugins of one node class.
type NodeClassStatus struct {
	// name of the class.
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// mountMode in which the node plugins of the class mount.
	// +optional
	MountMode MountMode `json:"mountMode,omitempty"`

	// daemonSet is the name of the class's DaemonSet in the node plugins' namespace.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	DaemonSet string `json:"daemonSet,omitempty"`

	// nodes is the number of nodes in the class.
	// +kubebuilder:validation:Minimum=0
	Nodes int32 `json:"nodes"`

	// ready is the number of those nodes whose kubelet has registered the driver.
	// +kubebuilder:validation:Minimum=0
	Ready int32 `json:"ready"`

	// revision is the value of the label imagecsi.dev/revision on the DaemonSet's pod template.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Revision string `json:"revision,omitempty"`

	// updated is the number of those nodes that have a node plugin of this revision.
	// +kubebuilder:validation:Minimum=0
	Updated int32 `json:"updated"`

	// runtimeVersions are container runtime versions found in the class, sorted; at most 8 are listed.
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=128
	// +listType=atomic
	// +optional
	RuntimeVersions []string `json:"runtimeVersions,omitempty"`

	// confinement is what the node plugins of the class may do: by their DaemonSet, and because the process confines itself.
	// A node plugin that is less confined does not serve, so that its node is not ready.
	// +optional
	Confinement *Confinement `json:"confinement,omitempty"`

	// nestedSandboxes is whether pods on nodes of the class can make sandboxes, by what the operator knows of the class; empty if
	// spec.nestedSandboxes is.
	// +optional
	NestedSandboxes *ClassSandboxes `json:"nestedSandboxes,omitempty"`
}

// RolloutStatus is the progress of the latest change of the node plugin.
type RolloutStatus struct {
	// phase of the rollout. Complete: the change is on the nodes, and a later one can be rolled back to it. Canary: the
	// canary nodes have to prove it. Updating: the other nodes get it. Paused: the spec says to stop. RollingBack: it
	// failed, and nodes go back to the node plugin that worked before. RolledBack: they are back.
	Phase RolloutPhase `json:"phase"`

	// message describes the progress in a sentence.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	Message string `json:"message,omitempty"`

	// nodes is the number of nodes that have a node plugin or are to have one.
	// +kubebuilder:validation:Minimum=0
	Nodes int32 `json:"nodes"`

	// updated is the number of those nodes whose node plugin is what the spec asks for.
	// +kubebuilder:validation:Minimum=0
	Updated int32 `json:"updated"`

	// updating are the nodes whose node plugin is being replaced or has to prove itself, sorted; at most 10 are listed.
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	// +optional
	Updating []string `json:"updating,omitempty"`

	// failure is why the change was rolled back. It stays until the spec changes.
	// +optional
	Failure *RolloutFailure `json:"failure,omitempty"`
}

// RolloutPhase is how far a rollout is.
// +kubebuilder:validation:Enum=Complete;Canary;Updating;Paused;RollingBack;RolledBack
type RolloutPhase string

// The phases of a rollout.
const (
	// PhaseComplete: every node has the change.
	PhaseComplete RolloutPhase = "Complete"
	// PhaseCanary: the canaries get the change, or prove it.
	PhaseCanary RolloutPhase = "Canary"
	// PhaseUpdating: the other nodes get the change.
	PhaseUpdating RolloutPhase = "Updating"
	// PhasePaused: spec.rollout.state holds the change.
	PhasePaused RolloutPhase = "Paused"
	// PhaseRollingBack: the change failed, and nodes get back what they had.
	PhaseRollingBack RolloutPhase = "RollingBack"
	// PhaseRolledBack: the change failed, and no node has it.
	PhaseRolledBack RolloutPhase = "RolledBack"
)

// RolloutFailure is why a change was rolled back.
type RolloutFailure struct {
	// revision that failed, as in the pod label imagecsi.dev/revision.
	// +kubebuilder:validation:MaxLength=63
	Revision string `json:"revision"`

	// node on which it failed.
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node"`

	// reason is the kind of problem in one word.
	// +kubebuilder:validation:MaxLength=64
	Reason ProblemReason `json:"reason"`

	// message is why it failed there.
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message"`
}

// IgnoredPod is a pod that uses a volume of the driver and was not waited for.
type IgnoredPod struct {
	// node on which the pod is.
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node"`

	// pod as namespace/name.
	// +kubebuilder:validation:MaxLength=317
	Pod string `json:"pod"`
}

// UnsupportedNodes are the nodes that cannot serve the driver for one reason.
type UnsupportedNodes struct {
	// reason is the kind of obstacle in one word.
	// +kubebuilder:validation:MaxLength=64
	Reason ProblemReason `json:"reason"`

	// nodes is how many nodes have it.
	// +kubebuilder:validation:Minimum=1
	Nodes int32 `json:"nodes"`

	// node is the first of them by name.
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node"`

	// message says what was found on that node and what to do.
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message"`
}

// NodeProblem is a problem of one node that may need action.
type NodeProblem struct {
	// node is the node's name.
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node"`

	// reason is the kind of problem in one word.
	// +kubebuilder:validation:MaxLength=64
	Reason ProblemReason `json:"reason"`

	// message says what is wrong and what to do.
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message"`
}

// ProblemReason is the kind of problem a node has.
type ProblemReason string

// The kinds of problems, the worst first.
const (
	// ProblemImagePull: the node plugin's image cannot be pulled.
	ProblemImagePull ProblemReason = "ImagePullFailed"
	// ProblemCrashing: the node plugin ends again and again.
	ProblemCrashing ProblemReason = "NodePluginCrashing"
	// ProblemCannotStart: the node plugin's container cannot be started.
	ProblemCannotStart ProblemReason = "NodePluginCannotStart"
	// ProblemNotReady: the node plugin runs but reports that it is not ready.
	ProblemNotReady ProblemReason = "NodePluginNotReady"
	// ProblemUnschedulable: the node plugin's pod does not fit on the node.
	ProblemUnschedulable ProblemReason = "NodePluginUnschedulable"
	// ProblemNotEnding: the node plugin's pod, for which a removal waits, does not end.
	ProblemNotEnding ProblemReason = "NodePluginNotEnding"
	// ProblemNotCreated: the API server has refused the node plugin's pod, so there is none.
	ProblemNotCreated ProblemReason = "NodePluginNotCreated"
	// ProblemWaiting: the node's class cannot change while a pod uses a volume.
	ProblemWaiting ProblemReason = "WaitingForVolumes"
	// ProblemRuntimeSilent: the container runtime of a node that has a class does not answer the kubelet.
	ProblemRuntimeSilent ProblemReason = "RuntimeNotAnswering"
	// ProblemNotRegistered: the node's kubelet has not registered the driver yet.
	ProblemNotRegistered ProblemReason = "NotRegistered"
	// ProblemAliasMissing: the driver is registered, but not under every alias.
	ProblemAliasMissing ProblemReason = "AliasNotRegistered"
	// ProblemTaintStays: the node has the startup taint, but no driver is for it.
	ProblemTaintStays ProblemReason = "StartupTaintStays"
	// ProblemRuntimeTooOld: the container runtime is older than what is supported.
	ProblemRuntimeTooOld ProblemReason = "RuntimeTooOld"
	// ProblemRuntimeUnsupported: the container runtime has no image store that can be shared.
	ProblemRuntimeUnsupported ProblemReason = "RuntimeUnsupported"
	// ProblemRuntimeUnknown: the node does not say which container runtime it has.
	ProblemRuntimeUnknown ProblemReason = "RuntimeUnknown"
	// ProblemNoDaemonSets: the node runs no pods of DaemonSets: AWS Fargate, virtual kubelets.
	ProblemNoDaemonSets ProblemReason = "NodeRunsNoDaemonSets"
	// ProblemOSUnsupported: the node does not run Linux.
	ProblemOSUnsupported ProblemReason = "OSUnsupported"
)

// The types of an ImageCSIDriver's conditions.
const (
	// ConditionAvailable reports whether pods can mount images on the nodes that can serve the driver.
	ConditionAvailable = "Available"
	// ConditionProgressing reports whether the operator is bringing the nodes to what the spec asks for.
	ConditionProgressing = "Progressing"
	// ConditionDegraded reports whether something needs action.
	ConditionDegraded = "Degraded"
)

// Bounds that the operator keeps when it writes a status; the schema holds the same numbers.
const (
	MaxProblems        = 20
	MaxProblemMessage  = 512
	MaxClassStatuses   = 32
	MaxRuntimeVersions = 8
	MaxLooserFields    = 8
	MaxUpdatingNodes   = 10
	MaxIgnoredPods     = 20

	MaxUnsupportedReasons = 8
)
