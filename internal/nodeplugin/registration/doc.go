// Package registration registers the CSI driver names of this process with the kubelet, through the kubelet's plugin
// registration sockets (k8s.io/kubelet/pkg/apis/pluginregistration/v1), with no side-car.
package registration
