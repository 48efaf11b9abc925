package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
	"github.com/image-csi/image-csi-operator/internal/operator/probing"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

// asked returns who asks for sandboxes, for one driver.
func asked(seen *snapshot) probing.Asked {
	asks := func(driver v1alpha1.ImageCSIDriver) bool {
		return driver.Spec.NestedSandboxes != nil && !conflicts.Leaving(&driver)
	}
	if asks(*seen.driver) {
		return probing.ByThis
	}
	if slices.ContainsFunc(seen.cluster.Drivers, func(d v1alpha1.ImageCSIDriver) bool { return d.Name != seen.driver.Name && asks(d) }) {
		return probing.ByAnother
	}
	return probing.ByNobody
}

// probeSandboxes has nodes try a sandbox, a few at a time, and writes to their labels what became of it. The pods are those of a
// DaemonSet that selects the label, so to write the label starts a probe, and to write the result ends it.
func (r *ImageCSIDriverReconciler) probeSandboxes(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	name := seen.driver.Name
	in := probing.Input{Asked: asked(seen), Nodes: probeNodes(out), Began: r.probes[name], Now: r.Clock.Now()}
	decision := probing.Decide(in)
	if r.probes == nil {
		r.probes = map[string]map[string]time.Time{}
	}
	r.probes[name] = decision.Began
	out.wait(decision.Next)
	nodes := slices.Clone(out.fleet.nodes)
	changes := make(map[int]probing.Change, len(decision.Changes)) // by the node's index
	for _, change := range decision.Changes {
		changes[change.Index] = change
	}
	reported := make([]bool, len(nodes))
	err := writeNodes(slices.Sorted(maps.Keys(changes)), func(i int) error {
		changed, err := r.labelSandboxes(ctx, nodes[i].Node, changes[i])
		if err == nil {
			nodes[i].Node, reported[i] = changed, changes[i].Report != ""
		}
		return err
	})
	out.probed = sets.New[string]()
	for i := range nodes {
		if reported[i] {
			out.probed.Insert(nodes[i].Current)
		}
	}
	out.fleet.nodes = nodes
	return out, err
}

// probeNodes returns the nodes with what matters for a probe there.
func probeNodes(out outcome) []probing.Node {
	keeps := map[string]string{} // the revision of the node plugins that keep the profile, by class
	for i := range out.daemonSets {
		daemonSet := &out.daemonSets[i]
		for _, container := range daemonSet.Spec.Template.Spec.Containers {
			if container.Name == render.ContainerName && render.SandboxProfileOf(container) == sandbox.Name() {
				keeps[daemonSet.Labels[contract.NodeClassLabel]] = daemonSet.Spec.Template.Labels[contract.RevisionLabel]
			}
		}
	}
	prepared, probes := sets.New[string](), map[string]*corev1.Pod{}
	for i := range out.fleet.pods {
		pod := &out.fleet.pods[i]
		revision, has := keeps[pod.Labels[contract.NodeClassLabel]]
		if ready, _ := pluginpod.Ready(pod); has && ready && pod.DeletionTimestamp == nil && pod.Labels[contract.RevisionLabel] == revision {
			prepared.Insert(pluginpod.NodeOf(pod))
		}
	}
	for i := range out.fleet.probes {
		probes[pluginpod.NodeOf(&out.fleet.probes[i])] = &out.fleet.probes[i]
	}
	nodes := make([]probing.Node, 0, len(out.fleet.nodes))
	for _, at := range out.fleet.nodes {
		nodes = append(nodes, probing.Node{Node: at, Prepared: prepared.Has(at.Name), Probe: probes[at.Name]})
	}
	return nodes
}

// labelSandboxes writes a node's labels about sandboxes, and returns the node with them. A node that is gone needs none.
func (r *ImageCSIDriverReconciler) labelSandboxes(ctx context.Context, node *corev1.Node, change probing.Change) (*corev1.Node, error) {
	changed := node.DeepCopy()
	changed.Labels = change.Labels(node.Labels)
	written := changed.DeepCopy()
	if err := r.Client.Patch(ctx, written, client.MergeFrom(node), FieldOwner); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("set the labels %s and %s of node %s: %w", contract.SandboxProbeLabel, contract.SandboxNodeLabel, node.Name, err)
	}
	if change.Report != "" {
		// From a node, which may have written anything.
		log.FromContext(ctx).Info("Tried a sandbox", "node", node.Name, "result", change.Probe, "report", fmt.Sprintf("%q", change.Report))
	}
	return changed, nil
}

// forgetSandboxes removes the labels about sandboxes of all nodes when the last driver that asked for sandboxes leaves.
func (r *ImageCSIDriverReconciler) forgetSandboxes(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	if asked(seen) != probing.ByNobody {
		return out, nil
	}
	return r.probeSandboxes(ctx, seen, out)
}
