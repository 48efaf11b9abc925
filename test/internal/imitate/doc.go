// Package imitate runs code as a thread of another process could run it: in its namespaces, with its capabilities and behind copies
// of its seccomp filters.
package imitate
