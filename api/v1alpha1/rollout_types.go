package v1alpha1

import (
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Rollout controls how a change of the node plugin reaches the nodes: first a few canary nodes, and once these have proved
// it the others, some at a time. A change that fails on a node is rolled back everywhere. Mounted volumes are not
// touched.
// +kubebuilder:validation:XValidation:rule="!has(self.minReadySeconds) || !has(self.progressDeadlineSeconds) || self.minReadySeconds < self.progressDeadlineSeconds",message="minReadySeconds must be less than progressDeadlineSeconds"
type Rollout struct {
	// state controls whether the operator replaces node plugins. Active: as soon as there is a change. Paused: it stops
	// where it is, and neither goes on nor rolls back; a node plugin that ends for another reason may come back changed.
	// +kubebuilder:default=Active
	// +optional
	State RolloutState `json:"state,omitempty"`

	// canary selects the nodes that get a change first. Every canary has to serve the driver for minReadySeconds before
	// any other node is touched.
	// +kubebuilder:default={nodes: 1}
	// +optional
	Canary *Canary `json:"canary,omitempty"`

	// maxUnavailable is how many nodes of a class a change may leave without a working node plugin at a time: a
	// number of nodes or a percentage, rounded up. Pods keep the volumes they have meanwhile.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 && self <= 5000 : self.matches('^([1-9][0-9]?|100)%$')",message="maxUnavailable must be a number of nodes from 1 to 5000 or a percentage from 1% to 100%"
	// +kubebuilder:default="10%"
	// +optional
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// minReadySeconds is how long a replaced node plugin must be ready and registered before it counts as working.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	// +kubebuilder:default=30
	// +optional
	MinReadySeconds *int32 `json:"minReadySeconds,omitempty"`

	// progressDeadlineSeconds is how long a replaced node plugin may go without being ready and registered; then the
	// change has failed and is rolled back. It includes the pull of the node plugin's image.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	// +kubebuilder:default=300
	// +optional
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`
}

// RolloutState controls whether the operator replaces node plugins.
// +kubebuilder:validation:Enum=Active;Paused
type RolloutState string

// The states of a rollout that an administrator chooses from.
const (
	// RolloutActive replaces node plugins after a change.
	RolloutActive RolloutState = "Active"
	// RolloutPaused replaces none.
	RolloutPaused RolloutState = "Paused"
)

// Canary selects the nodes that get a change first.
// +kubebuilder:validation:XValidation:rule="has(self.nodes) != has(self.nodeSelector)",message="canary must have either nodes, a number, or nodeSelector, the labels of the canary nodes"
type Canary struct {
	// nodes is the number of canaries in every node class, taken in the order of their names; 0 for none.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Nodes *int32 `json:"nodes,omitempty"`

	// nodeSelector makes every node with all of these labels a canary. While it selects no node of the driver, no
	// change begins.
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(key, size(key) <= 317 && key.indexOf('/') <= 253 && key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="a label key must be a name of at most 63 letters, digits, '-', '_' and '.' that starts and ends with a letter or digit, and may have a DNS name and '/' before it, as in example.com/pool"
	// +mapType=atomic
	// +optional
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`
}
