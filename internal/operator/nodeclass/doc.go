// Package nodeclass tells to which node class a node belongs, and what the class means: the container runtime, the
// mount mode and the host's paths. It is a table and pure functions over it.
package nodeclass
