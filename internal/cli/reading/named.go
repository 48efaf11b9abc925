package reading

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// Named adds a node with its CSINode, PersistentVolumes, and a namespace to what was read, by their names: a question about one pod
// lists none of them. Objects that do not exist are left out.
func (r *Reader) Named(ctx context.Context, cluster *seen.Cluster, node, namespace string, volumes []string) error {
	if node != "" {
		var n corev1.Node
		if found, err := r.get(ctx, cluster, seen.Nodes, node, &n); err != nil {
			return err
		} else if found {
			cluster.Nodes = append(cluster.Nodes, n)
		}
		var c storagev1.CSINode
		if found, err := r.get(ctx, cluster, seen.CSINodes, node, &c); err != nil {
			return err
		} else if found {
			cluster.CSINodes = append(cluster.CSINodes, c)
		}
	}
	for _, name := range volumes {
		var v corev1.PersistentVolume
		if found, err := r.get(ctx, cluster, seen.Volumes, name, &v); err != nil {
			return err
		} else if found {
			cluster.Volumes = append(cluster.Volumes, v)
		}
	}
	var n corev1.Namespace
	found, err := r.get(ctx, cluster, seen.Namespaces, namespace, &n)
	if found {
		cluster.Namespaces = append(cluster.Namespaces, n)
	}
	return err
}

// get reads one object and reports whether it did.
func (r *Reader) get(ctx context.Context, cluster *seen.Cluster, kind seen.Resource, name string, object client.Object) (bool, error) {
	failed := r.client.Get(ctx, types.NamespacedName{Name: name}, object)
	if failed == nil {
		return true, nil
	}
	cause, err := causeOf(failed)
	if err != nil {
		return false, fmt.Errorf("get %s %s: %w", kind, name, err)
	}
	missed := seen.Unread{Resource: kind, Cause: cause}
	if cause == seen.Forbidden && !slices.Contains(cluster.Unread, missed) {
		cluster.Unread = append(cluster.Unread, missed)
	}
	return false, nil
}
