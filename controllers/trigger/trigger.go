// Package trigger holds what the controllers share about events: which ones reconcile, and how what fails is tried again.
package trigger

import (
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Queue holds what is to be reconciled.
type Queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// longestBackoff bounds the time between two tries of what fails, so that the operator recovers within it after an outage of
// the API server.
const longestBackoff = 30 * time.Second

// OneAtATime reconciles one object after the other, and tries what fails again with a backoff. Drivers share the nodes'
// labels, and reconcilers' fields have no locks.
func OneAtATime() controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: 1,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, longestBackoff),
	}
}

// Updates lets through every creation and deletion, and the updates for which differs is true.
func Updates[T client.Object](differs func(before, after T) bool) predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, okBefore := e.ObjectOld.(T)
		after, okAfter := e.ObjectNew.(T)
		return okBefore && okAfter && differs(before, after)
	}}
}

// ForeignChanges lets through events about CSIDriver objects without the label of a driver, which may conflict with a driver,
// and the loss and gain of that label.
func ForeignChanges() predicate.Predicate {
	is := func(object client.Object) bool { return object.GetLabels()[contract.DriverLabel] == "" }
	of := predicate.NewPredicateFuncs(is)
	of.UpdateFunc = func(e event.UpdateEvent) bool { return is(e.ObjectOld) != is(e.ObjectNew) }
	return of
}

// DriverChanges lets through changes of a driver's spec, its deletion, and changes of its finalizers, because its names are
// free when they are gone. It does not let through the operator's own writes of the status.
func DriverChanges() predicate.Predicate {
	return Updates(func(before, after *v1alpha1.ImageCSIDriver) bool {
		return before.Generation != after.Generation || before.UID != after.UID ||
			!before.DeletionTimestamp.Equal(after.DeletionTimestamp) ||
			!equality.Semantic.DeepEqual(before.Finalizers, after.Finalizers)
	})
}
