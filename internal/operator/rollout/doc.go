// Package rollout decides how a change of the node plugin reaches the nodes: which form each DaemonSet has, which pods
// are replaced next, and when a change is rolled back.
package rollout
