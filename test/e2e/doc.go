// Package e2e holds the tests of the whole: operator, DaemonSets and pods on a two-node cluster, containerd and CRI-O.
package e2e
