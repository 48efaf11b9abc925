// Package kubeletpods reads the names in the directory that the kubelet keeps of the pods on its node.
package kubeletpods
