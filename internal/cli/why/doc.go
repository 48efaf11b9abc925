// Package why finds out why a pod or a claim waits for an image volume, and what to do about it, from what the API server holds. The
// causes are rows of two tables: those of errors (errors.go) and those of the pod and its cluster (pod.go).
package why
