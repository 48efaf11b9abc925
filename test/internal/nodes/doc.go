// Package nodes runs the node plugin of the checkout on nodes without a kubelet, one for each container runtime, for
// tests and benchmarks that speak to its CSI socket as the kubelet would.
package nodes
