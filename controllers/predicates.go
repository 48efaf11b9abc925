package controllers

import (
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// updates lets through every creation and deletion, and the updates for which differs is true.
func updates[T client.Object](differs func(before, after T) bool) predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, okBefore := e.ObjectOld.(T)
		after, okAfter := e.ObjectNew.(T)
		return okBefore && okAfter && differs(before, after)
	}}
}

// foreignChanges lets through events about CSIDriver objects without the label of a driver, which may conflict with a driver,
// and the loss and gain of that label.
func foreignChanges() predicate.Predicate {
	is := func(object client.Object) bool { return object.GetLabels()[contract.DriverLabel] == "" }
	of := predicate.NewPredicateFuncs(is)
	of.UpdateFunc = func(e event.UpdateEvent) bool { return is(e.ObjectOld) != is(e.ObjectNew) }
	return of
}

// driverChanges lets through changes of a driver's spec, its deletion, and changes of its finalizers, because its names are
// free when they are gone. It does not let through the operator's own writes of the status.
func driverChanges() predicate.Predicate {
	return updates(func(before, after *v1alpha1.ImageCSIDriver) bool {
		return before.Generation != after.Generation || before.UID != after.UID ||
			!before.DeletionTimestamp.Equal(after.DeletionTimestamp) ||
			!equality.Semantic.DeepEqual(before.Finalizers, after.Finalizers)
	})
}
