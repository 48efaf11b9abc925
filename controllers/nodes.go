package controllers

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers/nodecache"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/probing"
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
	sandboxes probing.Asked
}

// readFleet finds the nodes to look at, with their placement and node plugins, and counts the settled ones. aliasUsers are pods
// that use volumes by a name that the spec has dropped, by their nodes.
func (r *ImageCSIDriverReconciler) readFleet(seen *snapshot, aliasUsers map[string]string) fleet {
	rule := settled.Rule{Plan: seen.plan, Names: seen.names, Revisions: revisions(seen), Sandboxes: asked(seen)}
	basis := judgement{driver: seen.driver.UID, generation: seen.driver.Generation, holds: len(seen.cluster.Holding()) > 0,
		revisions: fmt.Sprint(rule.Revisions), sandboxes: rule.Sandboxes}
	nodes, counts := r.nodes.Look(seen.driver.Name, basis, func(of nodecache.Facts) (settled.Kind, bool) {
		return rule.Of(of.Node, of.Registered, of.Pods)
	})
	out := fleet{settled: counts}
	for _, of := range nodes {
		out = out.with(seen.plan, of)
	}
	// The status shows for the node of each ignored pod whether it is served again.
	if len(seen.driver.Status.IgnoredPods) > 0 || len(aliasUsers) > 0 {
		out = r.everyNode(seen, out)
	}
	if len(aliasUsers) > 0 {
		out = out.usedBy(seen.driver, aliasUsers)
	}
	return out
}

// everyNode returns a fleet with the settled nodes among the others.
func (r *ImageCSIDriverReconciler) everyNode(seen *snapshot, of fleet) fleet {
	if len(of.settled) == 0 {
		return of
	}
	known := sets.New[string]()
	for i := range of.nodes {
		known.Insert(of.nodes[i].Name)
	}
	out := fleet{nodes: slices.Clone(of.nodes), pods: slices.Clone(of.pods), probes: slices.Clone(of.probes)}
	for _, facts := range r.nodes.All(seen.driver.Name) {
		if facts.Node != nil && !known.Has(facts.Node.Name) {
			out = out.with(seen.plan, facts)
		}
	}
	return out
}

// with returns a fleet with one node more, or with the pods that are left of one.
func (f fleet) with(plan placement.Plan, of nodecache.Facts) fleet {
	for _, pod := range of.Pods {
		f.pods = append(f.pods, *pod)
	}
	for _, pod := range of.Probes {
		f.probes = append(f.probes, *pod)
	}
	if of.Node != nil {
		at := plan.Of(of.Node)
		at.Registered, at.Began = of.Registered, status.Began(of.Node, of.Pods)
		f.nodes = append(f.nodes, at)
	}
	return f
}

// usedBy returns a fleet with the pods, by their nodes, that use volumes of the driver: to wait for them, or to report that they
// were ignored.
func (f fleet) usedBy(driver *v1alpha1.ImageCSIDriver, users map[string]string) fleet {
	f.nodes = slices.Clone(f.nodes)
	for i := range f.nodes {
		at := &f.nodes[i]
		if ignores(driver) {
			at.Ignored = users[at.Name]
		} else {
			at.UsedBy = users[at.Name]
		}
	}
	return f
}

// revisions of the driver's DaemonSets, by class.
func revisions(seen *snapshot) map[string]string {
	out := map[string]string{}
	for i := range seen.daemonSets {
		daemonSet := &seen.daemonSets[i]
		out[daemonSet.Labels[contract.NodeClassLabel]] = daemonSet.Spec.Template.Labels[contract.RevisionLabel]
	}
	return out
}
