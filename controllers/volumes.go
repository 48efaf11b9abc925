package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
	"github.com/image-csi/image-csi-operator/internal/operator/volumeuse"
)

// pageSize bounds the memory that a list of everything in the cluster takes at a time.
const pageSize = 500

// volumeIndex has the volumes of all drivers, because they share the nodes' classes; it is filled when first needed.
type volumeIndex struct {
	// ignored are the volumes of drivers with volumesInUse: Ignore, if the reconciled driver is one of these. waitedFor are
	// the volumes of all other drivers that have anything on the nodes.
	waitedFor, ignored volumeuse.Volumes
	filled             bool
}

func ignores(driver *v1alpha1.ImageCSIDriver) bool {
	return driver.Spec.VolumesInUse == v1alpha1.VolumesIgnore
}

// markUser records a pod on a node that uses a volume of any driver; one that is waited for takes precedence.
func (r *ImageCSIDriverReconciler) markUser(ctx context.Context, seen *observation, place *status.Node) error {
	if err := r.fillVolumes(ctx, seen); err != nil {
		return err
	}
	err := r.eachPod(ctx, func(pod *corev1.Pod) {
		switch {
		case seen.volumes.waitedFor.UsedBy(pod):
			place.UsedBy = cmp.Or(place.UsedBy, named(pod))
		case seen.volumes.ignored.UsedBy(pod):
			place.Ignored = cmp.Or(place.Ignored, named(pod))
		}
	}, client.MatchingFields{"spec.nodeName": place.Name})
	if err != nil || place.UsedBy != "" {
		place.Ignored = "" // The node stays as it is.
	}
	return err
}

// namesOf returns the names by which volumes of a driver may be in use, sorted: also those that its spec has dropped, but not
// those that another driver has.
func (o *observation) namesOf(driver *v1alpha1.ImageCSIDriver) []string {
	names := slices.DeleteFunc(render.Names(driver), func(name string) bool { return o.all.IsTaken(driver, name) })
	for i := range o.csiDrivers {
		if o.csiDrivers[i].Labels[contract.DriverLabel] == driver.Name {
			names = append(names, o.csiDrivers[i].Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (r *ImageCSIDriverReconciler) fillVolumes(ctx context.Context, seen *observation) error {
	if seen.volumes.filled {
		return nil
	}
	var waitedFor, ignored []string
	for i := range seen.all.Drivers {
		switch driver := &seen.all.Drivers[i]; {
		case conflicts.Gone(driver):
			// It has no volumes left that a change of a node could affect.
		case ignores(seen.Driver) && ignores(driver):
			ignored = append(ignored, seen.namesOf(driver)...)
		default:
			waitedFor = append(waitedFor, seen.namesOf(driver)...)
		}
	}
	index := volumeIndex{waitedFor: volumeuse.Of(waitedFor), ignored: volumeuse.Of(ignored), filled: true}
	if err := r.addPersistent(ctx, index.waitedFor, index.ignored); err != nil {
		return err
	}
	seen.volumes = index
	return nil
}

// usersOf returns a pod, as namespace/name, for each node with a pod that uses a volume of some CSI driver names. A recent
// answer is not asked for again. It is not fresh then, and its absence of a node proves nothing.
func (r *ImageCSIDriverReconciler) usersOf(ctx context.Context, seen *observation, names []string) (users map[string]string, fresh bool, err error) {
	key := usageKey{driver: seen.Driver.UID, generation: seen.Driver.Generation, names: strings.Join(names, ",")}
	users, left := r.usage.get(key, r.Clock.Now())
	if left > 0 {
		seen.recheck = sooner(seen.recheck, left)
		return users, false, nil
	}
	now, err := r.findUsers(ctx, names)
	if err != nil {
		return users, false, err // They may still run.
	}
	r.usage.put(key, now, r.Clock.Now(), r.RecheckPeriod)
	if len(now) > 0 {
		seen.recheck = sooner(seen.recheck, r.RecheckPeriod)
	}
	return now, true, nil
}

// findUsers asks the API server for the pods that use volumes of some CSI driver names.
func (r *ImageCSIDriverReconciler) findUsers(ctx context.Context, names []string) (map[string]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	volumes, users := volumeuse.Of(names), map[string]string{}
	if err := r.addPersistent(ctx, volumes); err != nil {
		return nil, err
	}
	return users, r.eachPod(ctx, func(pod *corev1.Pod) {
		if users[pod.Spec.NodeName] == "" && volumes.UsedBy(pod) {
			users[pod.Spec.NodeName] = named(pod)
		}
	})
}

// addPersistent adds the cluster's PersistentVolumes.
func (r *ImageCSIDriverReconciler) addPersistent(ctx context.Context, volumes ...volumeuse.Volumes) error {
	for next, more := "", true; more; more = next != "" {
		var page corev1.PersistentVolumeList
		if err := r.Direct.List(ctx, &page, client.Limit(pageSize), client.Continue(next)); err != nil {
			return fmt.Errorf("list PersistentVolumes to learn which claims are image volumes: %w", err)
		}
		for i := range page.Items {
			for _, some := range volumes {
				some.Add(&page.Items[i])
			}
		}
		next = page.Continue
	}
	return nil
}

// eachPod visits pods of the cluster.
func (r *ImageCSIDriverReconciler) eachPod(ctx context.Context, visit func(*corev1.Pod), where ...client.ListOption) error {
	for next, more := "", true; more; more = next != "" {
		var page corev1.PodList
		options := append([]client.ListOption{client.Limit(pageSize), client.Continue(next)}, where...)
		if err := r.Direct.List(ctx, &page, options...); err != nil {
			return fmt.Errorf("list pods to learn which of them use image volumes: %w", err)
		}
		for i := range page.Items {
			visit(&page.Items[i])
		}
		next = page.Continue
	}
	return nil
}

func named(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }
