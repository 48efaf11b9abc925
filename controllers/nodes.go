package controllers

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/controllers/nodecache"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/settled"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// judgement is what the rule for settled nodes depends on, besides the node.
type judgement struct {
	driver     types.UID
	generation int64
	holds      bool
	// revisions by class, as text: neither has a space or a colon.
	revisions string
}

// readNodes finds the nodes to look at, with their placement and node plugins, and counts the settled ones.
func (r *ImageCSIDriverReconciler) readNodes(seen *observation) {
	holds := len(seen.all.Holding()) > 0
	seen.plan = placement.ByDriver(seen.Driver, holds)
	rule := settled.Rule{Plan: seen.plan, Names: seen.Names, Revisions: revisions(seen)}
	basis := judgement{driver: seen.Driver.UID, generation: seen.Driver.Generation, holds: holds, revisions: fmt.Sprint(rule.Revisions)}
	nodes, counts := r.nodes.Look(seen.Driver.Name, basis, func(of nodecache.Facts) (settled.Kind, bool) {
		return rule.Of(of.Node, of.Registered, of.Pods)
	})
	for _, node := range nodes {
		seen.take(node)
	}
	seen.Settled = counts
	if len(seen.Driver.Status.IgnoredPods) > 0 {
		r.everyNode(seen) // The status shows for each of their nodes whether it is served again.
	}
}

// everyNode adds the settled nodes to those that are examined.
func (r *ImageCSIDriverReconciler) everyNode(seen *observation) {
	if len(seen.Settled) == 0 {
		return
	}
	known := sets.New[string]()
	for i := range seen.nodes {
		known.Insert(seen.nodes[i].Name)
	}
	for _, node := range r.nodes.All(seen.Driver.Name) {
		if node.Node != nil && !known.Has(node.Node.Name) {
			seen.take(node)
		}
	}
	seen.Settled = nil
}

// take adds a node to those that are examined.
func (o *observation) take(of nodecache.Facts) {
	for _, pod := range of.Pods {
		o.Pods = append(o.Pods, *pod)
	}
	if of.Node == nil {
		return
	}
	o.nodes = append(o.nodes, *of.Node)
	o.Nodes = append(o.Nodes, status.Node{Node: o.plan.Of(of.Node), Registered: of.Registered,
		Silent: status.SilentSince(of.Node), Joined: of.Node.CreationTimestamp.Time, Began: status.Began(of.Node, of.Pods)})
}

// revisions of the driver's DaemonSets, by class.
func revisions(seen *observation) map[string]string {
	out := map[string]string{}
	for i := range seen.DaemonSets {
		daemonSet := &seen.DaemonSets[i]
		out[daemonSet.Labels[contract.NodeClassLabel]] = daemonSet.Spec.Template.Labels[contract.RevisionLabel]
	}
	return out
}
