// Package network lays a cluster's cables: a network namespace with a bridge for the control plane, one namespace per
// node, and a virtual cable between them. Nothing of it touches the machine's own network.
package network
