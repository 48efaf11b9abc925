package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// NodePlugin configures the pods that serve the driver on the nodes.
//
// +kubebuilder:validation:XValidation:rule="!has(self.seccompProfile) || self.seccompProfile != 'Narrow' || !has(self.confinement) || !has(self.confinement.seccompProfile)",message="seccompProfile: Narrow and confinement.seccompProfile are two seccomp profiles for one container; remove one of them"
type NodePlugin struct {
	// image is the node plugin's container image. Default: the image that this release of the operator was tested
	// with, which is the operator's own.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^(([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*|[[][0-9A-Fa-f:]+[]])(:[0-9]+)?/)?[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}))?$') && !self.matches('^[0-9a-f]{64}$')",message="image must be an image reference, as in registry.example.com/team/image:1.2"
	// +optional
	Image string `json:"image,omitempty"`

	// imagePullPolicy controls when a node pulls the node plugin's image.
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	// +kubebuilder:default=IfNotPresent
	// +optional
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// imagePullSecrets names secrets, in the node plugins' namespace, with which the node plugin's image is pulled.
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
	Tolerations []Toleration `json:"tolerations,omitempty"`

	// nodeSelector restricts the nodes that may serve the driver to those with all of these labels. A node that
	// falls out of the selection keeps its node plugin until no pod there uses a volume of the driver. All
	// ImageCSIDriver objects of a cluster must have the same selector, because a node has one class. Default: every
	// Linux node.
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(key, size(key) <= 317 && key.indexOf('/') <= 253 && key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="a label key must be a name of at most 63 letters, digits, '-', '_' and '.' that starts and ends with a letter or digit, and may have a DNS name and '/' before it, as in example.com/pool"
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.startsWith('imagecsi.dev/'))",message="nodes must not be selected by labels under imagecsi.dev/, which the operator sets"
	// +mapType=atomic
	// +optional
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`

	// nodeSelectorTerms restricts the nodes further: to those that match at least one of these terms. A term can exclude
	// nodes, as in key: pool, operator: NotIn, values: [gpu]. Like nodeSelector, the terms must be the same in all
	// ImageCSIDriver objects. To exclude one node, set its label imagecsi.dev/exclude.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	NodeSelectorTerms []NodeSelectorTerm `json:"nodeSelectorTerms,omitempty"`

	// priorityClassName of the node plugin's pods.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="the name of a priority class must consist of lower-case letters, digits, '-' and '.', and each part must start and end with a letter or digit"
	// +kubebuilder:default=system-node-critical
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// seccompProfile selects the system calls that the node plugin may make where its container is not privileged (node
	// classes that mount in mode Nsenter). RuntimeDefault: those that the container runtime lets every container make.
	// Narrow: only those that the node plugin needs, by a profile that the Security Profiles Operator installs on the
	// nodes; until it has done so, the node plugin runs with RuntimeDefault.
	// +kubebuilder:default=RuntimeDefault
	// +optional
	SeccompProfile SeccompProfile `json:"seccompProfile,omitempty"`

	// confinement of the node plugin's container where it is not privileged (node classes that mount in mode Nsenter). What a node
	// class sets itself takes precedence.
	// +optional
	Confinement *ContainerConfinement `json:"confinement,omitempty"`

	// logLevel is how much the node plugin logs: Error, Info, or Debug for every call it serves.
	// +kubebuilder:default=Info
	// +optional
	LogLevel LogLevel `json:"logLevel,omitempty"`

	// httpPort is the port at which node plugins serve health and metrics. Default: 8080. In node classes with network Host,
	// where drivers share the node's ports, it is one from 28000 to 28999 that the driver's name decides.
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=65535
	// +optional
	HTTPPort int32 `json:"httpPort,omitempty"`

	// compatibilityMetrics controls whether the node plugin also serves the four warm_metal_* metrics of the legacy driver
	// (warm-metal's container image CSI driver), at the same port and path as its own, for dashboards and alerts that use
	// them.
	// +kubebuilder:default=Disabled
	// +optional
	CompatibilityMetrics CompatibilityMetrics `json:"compatibilityMetrics,omitempty"`
}

// Toleration lets node plugins run on nodes with a taint, as in the spec of pods.
// +kubebuilder:validation:XValidation:rule="has(self.key) && size(self.key) > 0 || has(self.operator) && self.operator == 'Exists'",message="a toleration without key must have operator Exists, and then tolerates every taint"
// +kubebuilder:validation:XValidation:rule="!has(self.value) || size(self.value) == 0 || !has(self.operator) || self.operator != 'Exists'",message="a toleration with operator Exists must not have a value"
// +kubebuilder:validation:XValidation:rule="!has(self.operator) || !(self.operator in ['Gt', 'Lt']) || has(self.value) && self.value.matches('^(0|-?[1-9][0-9]*)$')",message="a toleration with operator Gt or Lt must have a whole number as value"
// +kubebuilder:validation:XValidation:rule="!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",message="a toleration with tolerationSeconds must have effect NoExecute"
type Toleration struct {
	// key of the taint. Empty, with operator Exists: every taint is tolerated.
	// +optional
	Key LabelKey `json:"key,omitempty"`

	// operator compares the taint's value. Equal, the default: it is the value. Exists: any value. Gt, Lt: it is a number
	// greater or less than the value; they need a Kubernetes release that knows them.
	// +optional
	Operator TolerationOperator `json:"operator,omitempty"`

	// value that the taint has.
	// +optional
	Value LabelValue `json:"value,omitempty"`

	// effect of the taint. Default: every effect.
	// +optional
	Effect TaintEffect `json:"effect,omitempty"`

	// tolerationSeconds is how long a taint with effect NoExecute is tolerated. Default: forever.
	// +kubebuilder:validation:Minimum=0
	// +optional
	TolerationSeconds *int64 `json:"tolerationSeconds,omitempty"`
}

// TolerationOperator compares the value of a taint.
// +kubebuilder:validation:Enum=Exists;Equal;Gt;Lt
type TolerationOperator string

// TaintEffect is what a taint does to pods that do not tolerate it.
// +kubebuilder:validation:Enum=NoSchedule;PreferNoSchedule;NoExecute
type TaintEffect string

// NodeSelectorTerm is a set of requirements on a node, as in the node affinity of pods.
type NodeSelectorTerm struct {
	// matchExpressions are requirements on the node's labels, all of which have to hold.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	MatchExpressions []NodeSelectorRequirement `json:"matchExpressions"`
}

// NodeSelectorRequirement is a requirement on one label of a node.
// +kubebuilder:validation:XValidation:rule="self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",message="operators In and NotIn must have values, Exists and DoesNotExist must not"
type NodeSelectorRequirement struct {
	// key of the label.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('imagecsi.dev/')",message="nodes must not be selected by labels under imagecsi.dev/, which the operator sets"
	Key LabelKey `json:"key"`

	// operator is what has to hold. In: the label has one of the values. NotIn: it has none of them, or the node lacks the
	// label. Exists: the node has the label. DoesNotExist: the node lacks it.
	Operator NodeSelectorOperator `json:"operator"`

	// values of the label, for In and NotIn.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Values []LabelValue `json:"values,omitempty"`
}

// NodeSelectorOperator is what has to hold for a label.
// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
type NodeSelectorOperator string

// The operators.
const (
	// NodeSelectorIn wants one of the values.
	NodeSelectorIn NodeSelectorOperator = "In"
	// NodeSelectorNotIn wants none of the values, or no such label.
	NodeSelectorNotIn NodeSelectorOperator = "NotIn"
	// NodeSelectorExists wants the label, with any value.
	NodeSelectorExists NodeSelectorOperator = "Exists"
	// NodeSelectorDoesNotExist wants no such label.
	NodeSelectorDoesNotExist NodeSelectorOperator = "DoesNotExist"
)

// SeccompProfile selects the system calls that the node plugin may make.
// +kubebuilder:validation:Enum=RuntimeDefault;Narrow
type SeccompProfile string

// The seccomp profiles.
const (
	// SeccompRuntimeDefault is the container runtime's own profile.
	SeccompRuntimeDefault SeccompProfile = "RuntimeDefault"
	// SeccompNarrow is the node plugin's own.
	SeccompNarrow SeccompProfile = "Narrow"
)

// CompatibilityMetrics controls whether the legacy driver's metrics are served, too.
// +kubebuilder:validation:Enum=Enabled;Disabled
type CompatibilityMetrics string

// Whether there are compatibility metrics.
const (
	// CompatibilityMetricsEnabled serves them beside the node plugin's own.
	CompatibilityMetricsEnabled CompatibilityMetrics = "Enabled"
	// CompatibilityMetricsDisabled serves the node plugin's own only.
	CompatibilityMetricsDisabled CompatibilityMetrics = "Disabled"
)

// Resources are the compute resources of one container.
//
// The rules that compare look for long exponents first, as those of Volumes do. They are one for each resource, because a rule
// over all of them exceeds the cost that servers of 1.31 allow.
//
// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || !('cpu' in self.requests) || !('cpu' in self.limits) || string(self.requests['cpu']).matches('[eE]...') || string(self.limits['cpu']).matches('[eE]...') || !isQuantity(string(self.requests['cpu'])) || !isQuantity(string(self.limits['cpu'])) || quantity(string(self.requests['cpu'])).compareTo(quantity(string(self.limits['cpu']))) <= 0",message="requests.cpu must not exceed limits.cpu"
// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || !('memory' in self.requests) || !('memory' in self.limits) || string(self.requests['memory']).matches('[eE]...') || string(self.limits['memory']).matches('[eE]...') || !isQuantity(string(self.requests['memory'])) || !isQuantity(string(self.limits['memory'])) || quantity(string(self.requests['memory'])).compareTo(quantity(string(self.limits['memory']))) <= 0",message="requests.memory must not exceed limits.memory"
// +kubebuilder:validation:XValidation:rule="!has(self.requests) || !has(self.limits) || !('ephemeral-storage' in self.requests) || !('ephemeral-storage' in self.limits) || string(self.requests['ephemeral-storage']).matches('[eE]...') || string(self.limits['ephemeral-storage']).matches('[eE]...') || !isQuantity(string(self.requests['ephemeral-storage'])) || !isQuantity(string(self.limits['ephemeral-storage'])) || quantity(string(self.requests['ephemeral-storage'])).compareTo(quantity(string(self.limits['ephemeral-storage']))) <= 0",message="requests.ephemeral-storage must not exceed limits.ephemeral-storage"
type Resources struct {
	// requests are what the scheduler sets aside, e.g. cpu: 10m.
	// +kubebuilder:validation:MaxProperties=8
	// +kubebuilder:validation:XValidation:rule="self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] || name.startsWith('hugepages-') || name.contains('/'))",message="a resource must be cpu, memory, ephemeral-storage, hugepages-SIZE, or an extended resource with its domain, as in example.com/gpu"
	// +kubebuilder:validation:XValidation:rule="self.all(name, !string(self[name]).matches('[eE]...'))",message="requests must be quantities such as 500m or 64Mi, with an exponent of at most two characters"
	// +kubebuilder:validation:XValidation:rule="self.all(name, !string(self[name]).matches('^-'))",message="requests must not be negative"
	// +optional
	Requests corev1.ResourceList `json:"requests,omitempty"`

	// limits are what the container may use at most. A memory limit that is too low ends the node plugin while it
	// serves volumes; pods keep the volumes they have, new ones wait until it is back.
	// +kubebuilder:validation:MaxProperties=8
	// +kubebuilder:validation:XValidation:rule="self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] || name.startsWith('hugepages-') || name.contains('/'))",message="a resource must be cpu, memory, ephemeral-storage, hugepages-SIZE, or an extended resource with its domain, as in example.com/gpu"
	// +kubebuilder:validation:XValidation:rule="self.all(name, !string(self[name]).matches('[eE]...'))",message="limits must be quantities such as 500m or 64Mi, with an exponent of at most two characters"
	// +kubebuilder:validation:XValidation:rule="self.all(name, !string(self[name]).matches('^-'))",message="limits must not be negative"
	// +optional
	Limits corev1.ResourceList `json:"limits,omitempty"`
}

// LogLevel is how much a program logs.
// +kubebuilder:validation:Enum=Error;Info;Debug
type LogLevel string

// The log levels.
const (
	// LogError logs what failed.
	LogError LogLevel = "Error"
	// LogInfo also logs what was done, a line for each volume that is mounted or unmounted.
	LogInfo LogLevel = "Info"
	// LogDebug also logs every call that is served.
	LogDebug LogLevel = "Debug"
)
