// Package kubeletpulls reads the kubelet's records of its own image pulls, so that an image that it pulled with one
// tenant's secret does not count as preloaded (KEP-2535, https://kep.k8s.io/2535).
package kubeletpulls
