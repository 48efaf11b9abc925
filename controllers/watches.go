package controllers

import (
	"context"

	"go.opentelemetry.io/otel/trace/noop"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers/cached"
	"github.com/image-csi/image-csi-operator/controllers/nodecache"
	"github.com/image-csi/image-csi-operator/controllers/served"
	"github.com/image-csi/image-csi-operator/controllers/trigger"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// SetupWithManager registers the controller and its watches.
func (r *ImageCSIDriverReconciler) SetupWithManager(mgr ctrl.Manager) error {
	every := handler.EnqueueRequestsFromMapFunc(r.everyDriver)
	owner := handler.EnqueueRequestsFromMapFunc(driverOf)
	if r.Tracer == nil {
		r.Tracer = noop.Tracer{}
	}
	if r.RecheckPeriod == 0 {
		r.RecheckPeriod = recheckVolumes
	}
	r.nodes, r.usage, r.guarding.applied = nodecache.New(), usageCache{}, map[string]types.UID{}
	var controller controller.Controller // which the watches below need once it runs
	var err error
	if r.kinds, err = served.NewKinds(mgr, r.Settings.Namespace, cached.Labelled(), r.Clock, func(objects cache.Cache, kind client.Object) error {
		return controller.Watch(source.Kind(objects, kind, owner))
	}); err != nil {
		return err
	}
	if r.policies, err = served.NewPolicies(mgr, r.Clock, func(objects cache.Cache, kind client.Object) error {
		return controller.Watch(source.Kind(objects, kind, every, served.PolicyChanges()))
	}); err != nil {
		return err
	}
	r.fields, r.conflicts = served.NewFields(mgr.GetConfig(), mgr.GetHTTPClient(), r.Clock), map[string]int{}
	controller, err = ctrl.NewControllerManagedBy(mgr).
		Named("imagecsidriver").
		WithOptions(trigger.OneAtATime()).
		// A change of one driver can end or start a conflict of another.
		Watches(&v1alpha1.ImageCSIDriver{}, every, builder.WithPredicates(trigger.DriverChanges())).
		Watches(&corev1.Node{}, r.noted(r.everyDriver)).
		Watches(&storagev1.CSINode{}, r.noted(r.everyDriver)).
		Watches(&corev1.Pod{}, r.noted(driverOf)).
		Watches(&appsv1.DaemonSet{}, owner).
		Watches(&storagev1.CSIDriver{}, owner).
		Watches(&storagev1.CSIDriver{}, every, builder.WithPredicates(trigger.ForeignChanges())).
		Watches(&corev1.ServiceAccount{}, owner).
		Watches(&corev1.ConfigMap{}, owner).
		WatchesMetadata(served.DefinitionMetadata(), every, builder.WithPredicates(served.DefinitionChanges())).
		Build(r)
	return err
}

// driverOf returns the driver that an object belongs to.
func driverOf(_ context.Context, object client.Object) []reconcile.Request {
	if name := object.GetLabels()[contract.DriverLabel]; name != "" {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: name}}}
	}
	return nil
}

// everyDriver returns all drivers.
func (r *ImageCSIDriverReconciler) everyDriver(ctx context.Context, _ client.Object) []reconcile.Request {
	var drivers v1alpha1.ImageCSIDriverList
	if err := r.Client.List(ctx, &drivers, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Cannot list the drivers that a change concerns")
		return nil
	}
	requests := make([]reconcile.Request, 0, len(drivers.Items))
	for i := range drivers.Items {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Name: drivers.Items[i].Name}})
	}
	return requests
}

// noted records events about nodes in the node cache, whose types the objects have: the cache trims Nodes, CSINodes and pods to them
// (cached.Options). If an event matters, it queues requests a little later, so that a burst
// of changes is reconciled once. A heartbeat does not matter.
func (r *ImageCSIDriverReconciler) noted(toRequests handler.MapFunc) handler.EventHandler {
	later := func(ctx context.Context, before, after client.Object, q trigger.Queue) {
		if !r.nodes.Note(before, after) {
			return
		}
		object := after
		if object == nil {
			object = before
		}
		for _, request := range toRequests(ctx, object) {
			q.AddAfter(request, r.BatchPeriod)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q trigger.Queue) { later(ctx, nil, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q trigger.Queue) {
			later(ctx, e.ObjectOld, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q trigger.Queue) { later(ctx, e.Object, nil, q) },
	}
}
