package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/volumeuse"
)

// pageSize bounds the memory that a list of everything in the cluster takes at a time.
const pageSize = 500

// volumeIndex has the volumes of all drivers, because they share the nodes' classes.
type volumeIndex struct {
	// ignored are the volumes of drivers with volumesInUse: Ignore, if the reconciled driver is one of these. waitedFor are
	// the volumes of all other drivers that have anything on the nodes.
	waitedFor, ignored volumeuse.Volumes
}

func ignores(driver *v1alpha1.ImageCSIDriver) bool {
	return driver.Spec.VolumesInUse == v1alpha1.VolumesIgnore
}

// usersOn returns a pod on a node that uses a volume of a driver and is waited for, and one that is ignored; empty if there is none.
func (r *ImageCSIDriverReconciler) usersOn(ctx context.Context, node string, volumes volumeIndex) (waitedFor, ignored string, err error) {
	err = r.eachPod(ctx, func(pod *corev1.Pod) {
		switch {
		case volumes.waitedFor.UsedBy(pod):
			waitedFor = cmp.Or(waitedFor, named(pod))
		case volumes.ignored.UsedBy(pod):
			ignored = cmp.Or(ignored, named(pod))
		}
	}, client.MatchingFields{"spec.nodeName": node})
	return waitedFor, ignored, err
}

// namesOf returns the names by which volumes of a driver may be in use, sorted: also those that its spec has dropped, but not
// those that another driver has.
func (s *snapshot) namesOf(driver *v1alpha1.ImageCSIDriver) []string {
	names := slices.DeleteFunc(render.Names(driver), func(name string) bool { return s.cluster.IsTaken(driver, name) })
	for i := range s.csiDrivers {
		if s.csiDrivers[i].Labels[contract.DriverLabel] == driver.Name {
			names = append(names, s.csiDrivers[i].Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// volumesOf finds the volumes of all drivers.
func (r *ImageCSIDriverReconciler) volumesOf(ctx context.Context, seen *snapshot) (volumeIndex, error) {
	var waitedFor, ignored []string
	for i := range seen.cluster.Drivers {
		switch driver := &seen.cluster.Drivers[i]; {
		case conflicts.Gone(driver):
			// It has no volumes left that a change of a node could affect.
		case ignores(seen.driver) && ignores(driver):
			ignored = append(ignored, seen.namesOf(driver)...)
		default:
			waitedFor = append(waitedFor, seen.namesOf(driver)...)
		}
	}
	index := volumeIndex{waitedFor: volumeuse.Of(waitedFor), ignored: volumeuse.Of(ignored)}
	return index, r.addPersistent(ctx, index.waitedFor, index.ignored)
}

// users are pods that use volumes.
type users struct {
	// pods has, for each node with such pods, one of them as namespace/name.
	pods map[string]string
	// fresh is set if the API server was asked just now. Otherwise, the absence of a node proves nothing.
	fresh bool
	// next is when to ask again, or 0.
	next time.Duration
}

// usersOf finds the pods that use volumes of some of a driver's names. A recent answer is not asked for again. If the answer is an
// error, the users are those that were there last: they may still run.
func (r *ImageCSIDriverReconciler) usersOf(ctx context.Context, driver *v1alpha1.ImageCSIDriver, names []string) (users, error) {
	key := usageKey{driver: driver.UID, generation: driver.Generation, names: strings.Join(names, ",")}
	last, left := r.usage.get(key, r.Clock.Now())
	if left > 0 {
		return users{pods: last, next: left}, nil
	}
	pods, err := r.askUsers(ctx, names)
	if err != nil {
		return users{pods: last}, err
	}
	r.usage.put(key, pods, r.Clock.Now(), r.RecheckPeriod)
	out := users{pods: pods, fresh: true}
	if len(pods) > 0 {
		out.next = r.RecheckPeriod
	}
	return out, nil
}

// askUsers asks the API server for the pods that use volumes of some CSI driver names.
func (r *ImageCSIDriverReconciler) askUsers(ctx context.Context, names []string) (map[string]string, error) {
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
