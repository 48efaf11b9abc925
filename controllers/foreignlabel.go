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
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// isForeign reports whether something other than the operator set a node's class label. The DaemonSet controller has followed
// that label, so the node plugin that could unmount the pods' volumes is gone, and waiting for the pods would never end. The
// node cache has no managed fields, so isForeign asks the API server. A node without managed fields counts as ours.
func (r *ImageCSIDriverReconciler) isForeign(ctx context.Context, place *status.Node) (bool, error) {
	node := &corev1.Node{}
	if err := r.Direct.Get(ctx, client.ObjectKey{Name: place.Name}, node); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return false, nil
		}
		return false, fmt.Errorf("read node %s to learn who set its label %s: %w", place.Name, contract.NodeClassLabel, err)
	}
	if node.Labels[contract.NodeClassLabel] != place.Current {
		return false, nil // The cache has not seen the label's change yet.
	}
	owners := ownership.Writers(node, fieldpath.MakePathOrDie("metadata", "labels", contract.NodeClassLabel))
	if len(owners) == 0 || slices.Contains(owners, string(FieldOwner)) {
		return false, nil
	}
	log.FromContext(ctx).Info("The node's class was set by another field manager", "node", node.Name, "class", place.Current, "managers", owners)
	return true, nil
}

// relabel restores the class of nodes on which a removal waits for pods, where it was changed from outside. If any driver
// decides the classes of nodes, that driver does so itself.
func (r *ImageCSIDriverReconciler) relabel(ctx context.Context, seen *observation) error {
	if len(seen.all.Placing()) > 0 {
		return nil
	}
	var failures []error
	for i := range seen.Nodes {
		place := &seen.Nodes[i]
		if place.UsedBy == "" || place.Placed() || place.Current == "" || place.Wanted == "" {
			continue
		}
		foreign, err := r.isForeign(ctx, place)
		if foreign {
			err = r.labelNode(ctx, &seen.nodes[i], place, place.Wanted)
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}
