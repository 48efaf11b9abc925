package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// observation is what one reconcile saw of the cluster, and what it has done since.
type observation struct {
	status.Observation
	// all that a driver may conflict with.
	all conflicts.Cluster
	// csiDrivers are the CSIDriver objects of the cluster.
	csiDrivers []storagev1.CSIDriver
	// plan gives the nodes their classes.
	plan placement.Plan
	// nodes as the node cache has them: shared, not to be changed. Node i of the status is nodes[i].
	nodes []corev1.Node
	// kinds are the optional ones that the cluster has; unclear those for which that is not known yet, and pending when to
	// look again for them, or 0.
	kinds, unclear []render.OptionalKind
	pending        time.Duration
	// policiesPending is when to look again for the admission policies, if they are not known yet, or 0.
	policiesPending time.Duration
	// existing are the driver's objects.
	existing []render.Object
	// volumes of all drivers; empty until fillVolumes.
	volumes volumeIndex
	// recheck is when to look again whether pods still use volumes; 0 if nothing waits for that.
	recheck time.Duration
	// contest is when to repair an object again that is changed from outside again and again; 0 if there is none.
	contest time.Duration
	// released is set when this reconcile has dropped the driver's finalizer.
	released bool
	// byAlias are pods that use volumes by a name that the spec has dropped, by their nodes.
	byAlias map[string]string
}

// read returns everything that matters for one driver; nil if there is no such driver.
func (r *ImageCSIDriverReconciler) read(ctx context.Context, name string) (seen *observation, err error) {
	ctx, span := r.phase(ctx, "read")
	defer end(span, &err)
	seen = &observation{}
	if seen.all, seen.csiDrivers, err = readCluster(ctx, r.Client); err != nil {
		return nil, err
	}
	for i := range seen.all.Drivers {
		if seen.all.Drivers[i].Name == name {
			seen.Driver = seen.all.Drivers[i].DeepCopy()
		}
	}
	if seen.Driver == nil {
		r.remember(name, nil)
		r.nodes.Forget(name)
		delete(r.conflicts, name)
		return nil, nil
	}
	seen.Names = render.Names(seen.Driver)
	seen.Table = nodeclass.NewTable(seen.Driver.Spec.NodeClasses)
	if !conflicts.Leaving(seen.Driver) {
		seen.Refusal = seen.all.Check(seen.Driver)
	}
	if err := r.readObjects(ctx, seen); err != nil {
		return nil, err
	}
	seen.Policies, seen.policiesPending = r.policies.look(ctx)
	if err := r.keepAliases(ctx, seen); err != nil {
		return nil, err
	}
	r.readNodes(seen)
	r.markAliasUsers(seen)
	return seen, nil
}

// readCluster returns everything that a driver may conflict with, and the CSIDriver objects among it.
func readCluster(ctx context.Context, from client.Reader) (conflicts.Cluster, []storagev1.CSIDriver, error) {
	var drivers v1alpha1.ImageCSIDriverList
	if err := from.List(ctx, &drivers); err != nil {
		return conflicts.Cluster{}, nil, fmt.Errorf("list ImageCSIDrivers: %w", err)
	}
	var objects storagev1.CSIDriverList
	if err := from.List(ctx, &objects); err != nil {
		return conflicts.Cluster{}, nil, fmt.Errorf("list CSIDrivers: %w", err)
	}
	return conflicts.Cluster{Drivers: drivers.Items, Foreign: conflicts.Foreign(objects.Items, string(FieldOwner))}, objects.Items, nil
}

// readObjects finds the driver's objects by their label.
func (r *ImageCSIDriverReconciler) readObjects(ctx context.Context, seen *observation) error {
	ours := client.MatchingLabels{contract.DriverLabel: seen.Driver.Name}
	here := client.InNamespace(r.Settings.Namespace)
	var (
		serviceAccounts corev1.ServiceAccountList
		configMaps      corev1.ConfigMapList
		daemonSets      appsv1.DaemonSetList
	)
	for _, list := range []client.ObjectList{&serviceAccounts, &configMaps, &daemonSets} {
		if err := r.Client.List(ctx, list, ours, here); err != nil {
			return fmt.Errorf("list the driver's objects (%T): %w", list, err)
		}
	}
	for i := range daemonSets.Items {
		seen.existing = append(seen.existing, &daemonSets.Items[i])
	}
	for i := range seen.csiDrivers {
		if object := &seen.csiDrivers[i]; object.Labels[contract.DriverLabel] == seen.Driver.Name {
			seen.existing = append(seen.existing, object)
		}
	}
	for i := range serviceAccounts.Items {
		seen.existing = append(seen.existing, &serviceAccounts.Items[i])
	}
	for i := range configMaps.Items {
		seen.existing = append(seen.existing, &configMaps.Items[i])
	}
	seen.DaemonSets = daemonSets.Items
	seen.kinds, seen.unclear, seen.pending = r.optional.present(ctx)
	more, err := r.optional.list(ctx, seen.kinds, ours)
	seen.existing = append(seen.existing, more...)
	// The cache has no order. The same failure must have the same text each time.
	slices.SortFunc(seen.existing, func(a, b render.Object) int {
		return cmp.Or(cmp.Compare(render.KindOf(a), render.KindOf(b)), cmp.Compare(a.GetName(), b.GetName()))
	})
	return err
}
