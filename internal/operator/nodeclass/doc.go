// Package nodeclass finds the node class of a node, and what the class means: the container runtime, the mount mode and the
// host's paths. It is a table and pure functions over it.
package nodeclass
