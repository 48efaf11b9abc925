// Package native decides for each image volume whether Kubernetes' own image volumes could take its place on this cluster. The rules are
// those of KEP-4639 and of what the container runtimes do, as docs/comparison.md has them.
package native
