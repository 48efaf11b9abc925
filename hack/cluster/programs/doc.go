// Package programs builds the programs of a Kubernetes cluster from the Go module proxy, at pinned versions, and keeps
// them in the user's cache directory.
//
// Each set of programs has a small module below hack/cluster/pins whose go.mod and go.sum pin it. A cache entry's name
// holds a hash of those files, the build flags and the Go version, so a fresh clone finds what an earlier one built.
package programs
