// Package registration tells the kubelet which CSI driver names this process serves, through the kubelet's plugin
// registration sockets (k8s.io/kubelet/pkg/apis/pluginregistration/v1), with no side-car.
package registration
