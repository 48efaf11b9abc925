// Package conformance runs other people's test suites against the node plugin: the CSI sanity suite here, Kubernetes'
// suite for storage drivers in the directory storage.
package conformance
