// Package simulatedfleet plays the kubelets and the DaemonSet controller on an API server without nodes, for tests of the
// operator. No program of the project imports it.
package simulatedfleet
