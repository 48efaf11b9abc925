// Package overview sums up drivers, nodes and volumes of a cluster, from what the operator and the kubelets report.
package overview
