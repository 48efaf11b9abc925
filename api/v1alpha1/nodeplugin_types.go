package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

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

	// nodeSelectorTerms restricts the nodes further: to those that fit at least one of these terms. It can say "not", as in
	// key: pool, operator: NotIn, values: [gpu]. What holds for nodeSelector holds for it, too. To leave out one node, set its
	// label imagecsi.dev/exclude.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	NodeSelectorTerms []NodeSelectorTerm `json:"nodeSelectorTerms,omitempty"`

	// priorityClassName of the node plugin's pods.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:default=system-node-critical
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// seccompProfile says which system calls the node plugin may make where its container is not privileged (node classes
	// that mount in mode Nsenter). RuntimeDefault: those that the container runtime lets every container make. Narrow:
	// only those that the node plugin needs, by a profile that the Security Profiles Operator puts on the nodes; until it
	// has done so, RuntimeDefault counts.
	// +kubebuilder:default=RuntimeDefault
	// +optional
	SeccompProfile SeccompProfile `json:"seccompProfile,omitempty"`

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

// NodeSelectorTerm is a set of requirements on a node, as in the node affinity of pods.
type NodeSelectorTerm struct {
	// matchExpressions are requirements on the node's labels, all of which have to hold.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	MatchExpressions []NodeSelectorRequirement `json:"matchExpressions"`
}

// NodeSelectorRequirement is a requirement on one label of a node.
// +kubebuilder:validation:XValidation:rule="self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",message="operators In and NotIn need values, Exists and DoesNotExist take none"
type NodeSelectorRequirement struct {
	// key of the label.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('imagecsi.dev/')",message="labels under imagecsi.dev/ are set by the operator and cannot select nodes"
	Key string `json:"key"`

	// operator says what has to hold. In: the label has one of the values. NotIn: it has none of them, or is not there.
	// Exists, DoesNotExist: whether it is there.
	Operator NodeSelectorOperator `json:"operator"`

	// values of the label, for In and NotIn.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Values []LabelValue `json:"values,omitempty"`
}

// NodeSelectorOperator says what has to hold for a label.
// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
type NodeSelectorOperator string

// The operators.
const (
	NodeSelectorIn           NodeSelectorOperator = "In"
	NodeSelectorNotIn        NodeSelectorOperator = "NotIn"
	NodeSelectorExists       NodeSelectorOperator = "Exists"
	NodeSelectorDoesNotExist NodeSelectorOperator = "DoesNotExist"
)

// SeccompProfile says which system calls the node plugin may make.
// +kubebuilder:validation:Enum=RuntimeDefault;Narrow
type SeccompProfile string

// The seccomp profiles.
const (
	// SeccompRuntimeDefault is the container runtime's own profile.
	SeccompRuntimeDefault SeccompProfile = "RuntimeDefault"
	// SeccompNarrow is the node plugin's own.
	SeccompNarrow SeccompProfile = "Narrow"
)

// CompatibilityMetrics says whether metrics have the names of the driver of before as well.
// +kubebuilder:validation:Enum=Enabled;Disabled
type CompatibilityMetrics string

// Whether there are compatibility metrics.
const (
	CompatibilityMetricsEnabled  CompatibilityMetrics = "Enabled"
	CompatibilityMetricsDisabled CompatibilityMetrics = "Disabled"
)

// Resources are the compute resources of one container.
type Resources struct {
	// requests are what the scheduler sets aside, e.g. cpu: 10m.
	// +kubebuilder:validation:MaxProperties=8
	// +kubebuilder:validation:XValidation:rule="self.all(name, !string(self[name]).matches('[eE]...'))",message="requests are quantities such as 500m or 64Mi, with an exponent of at most two characters"
	// +optional
	Requests corev1.ResourceList `json:"requests,omitempty"`

	// limits are what the container may use at most. A memory limit that is too low ends the node plugin while it
	// serves volumes; pods keep the volumes they have, new ones wait until it is back.
	// +kubebuilder:validation:MaxProperties=8
	// +kubebuilder:validation:XValidation:rule="self.all(name, !string(self[name]).matches('[eE]...'))",message="limits are quantities such as 500m or 64Mi, with an exponent of at most two characters"
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
