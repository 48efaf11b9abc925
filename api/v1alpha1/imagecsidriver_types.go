package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ImageCSIDriver lets pods of this cluster mount container images as volumes. Its name is the CSI driver name that
// pods and PersistentVolumes write in `csi.driver`, for example container-image.csi.k8s.io. An object without any
// setting is a complete driver: the operator finds the container runtime of every node and runs the node plugin that
// suits it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=icd,categories=storage
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.nodes.summary`,description="Nodes that serve the driver, of those that can"
// +kubebuilder:printcolumn:name="Available",type=string,JSONPath=`.status.conditions[?(@.type=="Available")].status`
// +kubebuilder:printcolumn:name="Progressing",type=string,JSONPath=`.status.conditions[?(@.type=="Progressing")].status`
// +kubebuilder:printcolumn:name="Degraded",type=string,JSONPath=`.status.conditions[?(@.type=="Degraded")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="State",type=string,priority=1,JSONPath=`.spec.managementState`
// +kubebuilder:printcolumn:name="Unsupported",type=integer,priority=1,JSONPath=`.status.nodes.unsupported`
// +kubebuilder:printcolumn:name="Waiting",type=integer,priority=1,JSONPath=`.status.nodes.waiting`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.message`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="metadata.name is the CSI driver's name and must have at most 63 characters"
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.aliases) || !(self.metadata.name in self.spec.aliases)",message="spec.aliases must not repeat metadata.name, which is served already"
type ImageCSIDriver struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata. Its name is the CSI driver name (CSI specification, GetPluginInfo:
	// at most 63 characters in domain form).
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is how the driver should run. Leaving it out takes every default.
	// +kubebuilder:default={}
	// +optional
	Spec ImageCSIDriverSpec `json:"spec,omitempty,omitzero"`

	// status is how the driver runs; the operator writes it.
	// +optional
	Status ImageCSIDriverStatus `json:"status,omitempty,omitzero"`
}

// ImageCSIDriverList is a list of ImageCSIDriver objects.
//
// +kubebuilder:object:root=true
type ImageCSIDriverList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// items are the drivers.
	Items []ImageCSIDriver `json:"items"`
}
