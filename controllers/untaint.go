package controllers

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// untaint removes the startup taint from nodes on which every reconciled driver is registered under all its names. A node that
// cannot serve keeps it, and the status says so.
func (r *ImageCSIDriverReconciler) untaint(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	var names []string
	for _, driver := range seen.cluster.Placing() {
		names = append(names, render.Names(&driver)...)
	}
	var served []int
	for i, node := range out.fleet.nodes {
		if node.Tainted && node.Eligible() && node.Registered.HasAll(names...) {
			served = append(served, i)
		}
	}
	return out, writeNodes(served, func(i int) error { return r.untaintNode(ctx, out.fleet.nodes[i].Name) })
}

// untaintNode reads the whole node first: the cache holds no taints of others, and a patch replaces the list. For the
// same reason, the server has to refuse the patch if the node has changed since.
func (r *ImageCSIDriverReconciler) untaintNode(ctx context.Context, name string) error {
	node := &corev1.Node{}
	if err := r.Direct.Get(ctx, client.ObjectKey{Name: name}, node); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil
		}
		return fmt.Errorf("read node %s to remove its startup taint: %w", name, err)
	}
	before := node.DeepCopy()
	node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, placement.IsStartupTaint)
	if len(node.Spec.Taints) == len(before.Spec.Taints) {
		return nil // The cache has not seen it go yet.
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, node, patch, FieldOwner); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove the startup taint from node %s: %w", name, err)
	}
	log.FromContext(ctx).Info("Removed the startup taint", "node", name)
	return nil
}
