package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/ownership"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

// isForeign reports whether something other than the operator set a node's class label. The DaemonSet controller has followed
// that label, so the node plugin that could unmount the pods' volumes is gone, and waiting for the pods would never end. The
// node cache has no managed fields, so isForeign asks the API server. A node without managed fields counts as ours.
func (r *ImageCSIDriverReconciler) isForeign(ctx context.Context, at *placement.Node) (bool, error) {
	live := &corev1.Node{}
	if err := r.Direct.Get(ctx, client.ObjectKey{Name: at.Name}, live); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return false, nil
		}
		return false, fmt.Errorf("read node %s to learn who set its label %s: %w", at.Name, contract.NodeClassLabel, err)
	}
	if live.Labels[contract.NodeClassLabel] != at.Current {
		return false, nil // The cache has not seen the label's change yet.
	}
	owners := ownership.Writers(live, fieldpath.MakePathOrDie("metadata", "labels", contract.NodeClassLabel))
	if len(owners) == 0 || slices.Contains(owners, ownership.Operator) {
		return false, nil
	}
	log.FromContext(ctx).Info("The node's class was set by another field manager", "node", at.Name, "class", at.Current, "managers", owners)
	return true, nil
}

// relabel restores the class of nodes on which a removal waits for pods, where it was changed from outside. If any driver
// decides the classes of nodes, that driver does so itself.
func (r *ImageCSIDriverReconciler) relabel(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	if len(seen.cluster.Placing()) > 0 {
		return out, nil
	}
	nodes := slices.Clone(out.fleet.nodes)
	var failures []error
	for i := range nodes {
		at := &nodes[i]
		if at.UsedBy == "" || at.Placed() || at.Current == "" || at.Wanted == "" {
			continue
		}
		foreign, err := r.isForeign(ctx, at)
		if foreign {
			err = r.labelNode(ctx, at, at.Wanted)
		}
		failures = append(failures, err)
	}
	out.fleet.nodes = nodes
	return out, errors.Join(failures...)
}
