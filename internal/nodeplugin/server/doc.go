// Package server answers the kubelet's CSI calls: it validates requests, passes them on, and maps errors to gRPC codes. It
// implements the Identity and Node services of CSI 1.13
// (https://github.com/container-storage-interface/spec/blob/v1.13.0/spec.md).
package server
