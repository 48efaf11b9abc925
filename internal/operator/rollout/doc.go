// Package rollout decides how a change of the node plugin reaches the nodes: which form each DaemonSet has, which pods
// are replaced next, and when a change is rolled back: the rollback of Kubernetes' terms, to the form that last worked.
//
// Read Decide first, which has the steps of a decision. Then read table.go, which has every rule of what a node plugin means. Each
// class has up to four forms (class.go): the spec asks for the wanted one, the good one worked last, the DaemonSet has the live
// one, and gets the target.
package rollout
