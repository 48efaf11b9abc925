// Package v1alpha1 holds the custom resources of the API group storage.imagecsi.dev.
//
// +kubebuilder:object:generate=true
// +groupName=storage.imagecsi.dev
package v1alpha1
