// Package install tries the ways into a cluster with the programs that people have, kubectl and Helm, on a control plane without
// nodes, where the operator's program runs as the account that an installation gives it.
package install
