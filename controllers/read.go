package controllers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers/cached"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// read returns everything that matters for one driver; nil if there is no such driver.
func (r *ImageCSIDriverReconciler) read(ctx context.Context, name string) (seen *snapshot, err error) {
	ctx, span := r.span(ctx, "read")
	defer end(span, &err)
	cluster, csiDrivers, err := cached.Conflicts(ctx, r.Client)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(cluster.Drivers, func(d v1alpha1.ImageCSIDriver) bool { return d.Name == name })
	if at < 0 {
		r.forget(name)
		return nil, nil
	}
	driver := cluster.Drivers[at].DeepCopy()
	seen = &snapshot{
		driver: driver, names: render.Names(driver), table: nodeclass.NewTable(driver.Spec.NodeClasses),
		plan: placement.ByDriver(driver, len(cluster.Holding()) > 0), cluster: cluster, csiDrivers: csiDrivers,
	}
	if !conflicts.Leaving(driver) {
		seen.refusal = cluster.Check(driver)
	}
	if err := r.readObjects(ctx, seen); err != nil {
		return nil, err
	}
	seen.policies, seen.policiesPending = r.policies.Look(ctx)
	aliases, err := r.readAliases(ctx, seen)
	if err != nil {
		return nil, err
	}
	seen.names, seen.recheck = withAliases(seen.names, aliases.kept), aliases.recheck
	seen.fleet = r.readFleet(seen, aliases.users)
	return seen, nil
}

// forget drops what is remembered of a driver that is gone.
func (r *ImageCSIDriverReconciler) forget(driver string) {
	r.remember(driver, nil)
	r.nodes.Forget(driver)
	delete(r.conflicts, driver)
	delete(r.probes, driver)
	maps.DeleteFunc(r.contests, func(key objectKey, _ *contested) bool { return key.driver == driver })
}

// readObjects finds the driver's objects by their label.
func (r *ImageCSIDriverReconciler) readObjects(ctx context.Context, seen *snapshot) error {
	ours := client.MatchingLabels{contract.DriverLabel: seen.driver.Name}
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
		seen.objects = append(seen.objects, &daemonSets.Items[i])
		if !render.IsSandboxProbe(&daemonSets.Items[i]) {
			seen.daemonSets = append(seen.daemonSets, daemonSets.Items[i])
		}
	}
	for i := range seen.csiDrivers {
		if object := &seen.csiDrivers[i]; object.Labels[contract.DriverLabel] == seen.driver.Name {
			seen.objects = append(seen.objects, object)
		}
	}
	for i := range serviceAccounts.Items {
		seen.objects = append(seen.objects, &serviceAccounts.Items[i])
	}
	for i := range configMaps.Items {
		seen.objects = append(seen.objects, &configMaps.Items[i])
	}
	seen.kinds, seen.unclear, seen.kindsPending = r.kinds.Present(ctx)
	more, err := r.kinds.List(ctx, seen.kinds, ours)
	seen.objects = append(seen.objects, more...)
	// The cache has no order. The same failure must have the same text each time.
	slices.SortFunc(seen.objects, func(a, b render.Object) int {
		return cmp.Or(cmp.Compare(render.KindOf(a), render.KindOf(b)), cmp.Compare(a.GetName(), b.GetName()))
	})
	return err
}
