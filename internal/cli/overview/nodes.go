package overview

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

// NodeFilter chooses nodes.
type NodeFilter struct {
	// Class of the nodes; empty for all.
	Class string
	// Selector of their labels.
	Selector labels.Selector
	// Problems leaves out nodes without a problem.
	Problems bool
}

// Nodes lists nodes, with what each driver is there.
func Nodes(cluster seen.Cluster, filter NodeFilter) document.Nodes {
	var items []document.Node
	for i := range cluster.Nodes {
		node := &cluster.Nodes[i]
		if filter.Class != "" && node.Labels[contract.NodeClassLabel] != filter.Class {
			continue
		}
		if filter.Selector != nil && !filter.Selector.Matches(labels.Set(node.Labels)) {
			continue
		}
		item := document.Node{
			Name: node.Name, Class: node.Labels[contract.NodeClassLabel], Drivers: []document.NodeDriver{},
			Runtime: node.Status.NodeInfo.ContainerRuntimeVersion, OSImage: node.Status.NodeInfo.OSImage,
		}
		for j := range cluster.Drivers {
			item.Drivers = append(item.Drivers, driverOn(cluster, node, &cluster.Drivers[j]))
		}
		if !filter.Problems || item.HasProblem() {
			items = append(items, item)
		}
	}
	return document.NewNodes(items, cluster.Unread)
}

// driverOn returns what a driver is on a node.
func driverOn(cluster seen.Cluster, node *corev1.Node, driver *v1alpha1.ImageCSIDriver) document.NodeDriver {
	out := document.NodeDriver{Name: driver.Name, Readiness: document.NodeReadinessUnknown}
	place := placement.ByDriver(driver, false).Of(node)
	registered, known := cluster.Registered(node.Name, driver.Name)
	switch {
	case !place.Eligible():
		out.Readiness = document.NodeNotEligible
	case isDown(node):
		out.Readiness = document.NodeNotReady
	case registered:
		out.Readiness = document.NodeReady
	case known || cluster.Missed(seen.CSINodes) == "":
		out.Readiness = document.NodeNotReady
	}
	at := slices.IndexFunc(driver.Status.Problems, func(p v1alpha1.NodeProblem) bool { return p.Node == node.Name })
	switch {
	case at >= 0:
		out.Reason, out.Message = driver.Status.Problems[at].Reason, driver.Status.Problems[at].Message
	case place.Unsupported != nil:
		out.Reason, out.Message = place.Unsupported.Reason, place.Unsupported.Error()
	case place.Eligible() && isDown(node):
		out.Reason, out.Message = document.NodeDown, "the node's kubelet does not report, or reports that it is not ready; repair the node, or remove it"
	case out.Readiness == document.NodeNotReady:
		out.Reason, out.Message = v1alpha1.ProblemNotRegistered, "the node's kubelet has not registered the driver"
	}
	return out
}

// isDown reports whether a node's kubelet does not report, or reports that it is not ready. What it had registered is in its CSINode still.
func isDown(node *corev1.Node) bool {
	ready := placement.ReadyCondition(node)
	return ready != nil && ready.Status != corev1.ConditionTrue
}
