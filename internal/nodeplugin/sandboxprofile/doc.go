// Package sandboxprofile keeps the seccomp profile of sandboxes on the node, where the kubelet lets pods name it.
package sandboxprofile
