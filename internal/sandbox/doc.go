// Package sandbox holds the seccomp profile of containers in which programs such as bubblewrap make sandboxes. The node plugin puts
// it on its node, and the operator names it to those who write pods.
package sandbox
