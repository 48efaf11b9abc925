// Package kubeletpulls reads what the kubelet remembers of its own image pulls, so that an image that it pulled with one
// tenant's secret is not taken for one that came with the node (KEP-2535, https://kep.k8s.io/2535).
package kubeletpulls
