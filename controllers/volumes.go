package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/usage"
)

// pageSize bounds the memory that a list of everything in the cluster takes at a time.
const pageSize = 500

// volumeIndex finds the volumes of some drivers; it is filled when first needed.
type volumeIndex struct {
	volumes usage.Volumes
	filled  bool
}

// userOn returns a pod on a node, as namespace/name, that uses a volume of any driver; empty if there is none.
func (r *ImageCSIDriverReconciler) userOn(ctx context.Context, seen *observation, node string) (string, error) {
	if !seen.volumes.filled {
		var names []string
		for i := range seen.drivers {
			names = append(names, render.Names(&seen.drivers[i])...)
		}
		volumes, err := r.volumesOf(ctx, names)
		if err != nil {
			return "", err
		}
		seen.volumes = volumeIndex{volumes: volumes, filled: true}
	}
	users, err := r.users(ctx, seen.volumes.volumes, client.MatchingFields{"spec.nodeName": node})
	return users[node], err
}

// volumesOf finds the volumes of some CSI driver names.
func (r *ImageCSIDriverReconciler) volumesOf(ctx context.Context, names []string) (usage.Volumes, error) {
	volumes := usage.Of(names, nil)
	for next, more := "", true; more; more = next != "" {
		var page corev1.PersistentVolumeList
		if err := r.Direct.List(ctx, &page, client.Limit(pageSize), client.Continue(next)); err != nil {
			return volumes, fmt.Errorf("list PersistentVolumes to learn which claims are image volumes: %w", err)
		}
		for i := range page.Items {
			volumes.Add(&page.Items[i])
		}
		next = page.Continue
	}
	return volumes, nil
}

// users returns, for each node with a pod that uses one of the volumes, such a pod as namespace/name.
func (r *ImageCSIDriverReconciler) users(ctx context.Context, volumes usage.Volumes, where ...client.ListOption) (map[string]string, error) {
	users := map[string]string{}
	for next, more := "", true; more; more = next != "" {
		var page corev1.PodList
		options := append([]client.ListOption{client.Limit(pageSize), client.Continue(next)}, where...)
		if err := r.Direct.List(ctx, &page, options...); err != nil {
			return nil, fmt.Errorf("list pods to learn which of them use image volumes: %w", err)
		}
		for i := range page.Items {
			pod := &page.Items[i]
			if volumes.UsedBy(pod) && users[pod.Spec.NodeName] == "" {
				users[pod.Spec.NodeName] = pod.Namespace + "/" + pod.Name
			}
		}
		next = page.Continue
	}
	return users, nil
}
