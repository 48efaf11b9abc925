package controllers

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// addFinalizer has the driver stay until remove has released it.
func (r *ImageCSIDriverReconciler) addFinalizer(ctx context.Context, _ *snapshot, out outcome) (_ outcome, err error) {
	out.driver, err = r.patchFinalizers(ctx, out.driver, controllerutil.AddFinalizer)
	return out, err
}

// release drops the finalizer of a driver, and the guard before the last finalizer. Afterwards the operator may be gone.
func (r *ImageCSIDriverReconciler) release(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	out.released = true
	isHeld := func(other v1alpha1.ImageCSIDriver) bool {
		return other.Name != seen.driver.Name && controllerutil.ContainsFinalizer(&other, contract.Finalizer)
	}
	if controllerutil.ContainsFinalizer(out.driver, contract.Finalizer) && !slices.ContainsFunc(seen.cluster.Drivers, isHeld) {
		if err := r.dropGuard(ctx); apierrors.IsConflict(err) {
			return out, err // The cache lags behind.
		} else if err != nil {
			// Without drivers it refuses nothing, so nothing has to wait for it.
			log.FromContext(ctx).Error(err, "The policy that guards the installation stays")
		}
	}
	var err error
	out.driver, err = r.patchFinalizers(ctx, out.driver, controllerutil.RemoveFinalizer)
	return out, client.IgnoreNotFound(err)
}

// patchFinalizers returns the driver as the server has it then.
func (r *ImageCSIDriverReconciler) patchFinalizers(ctx context.Context, driver *v1alpha1.ImageCSIDriver,
	change func(client.Object, string) bool) (*v1alpha1.ImageCSIDriver, error) {
	changed := driver.DeepCopy()
	if !change(changed, contract.Finalizer) {
		return driver, nil
	}
	// A merge patch replaces the whole list. With the version, the server refuses it if the list was changed meanwhile.
	patch := client.MergeFromWithOptions(driver, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, changed, patch, FieldOwner); err != nil {
		return driver, fmt.Errorf("change the finalizers of ImageCSIDriver %s: %w", driver.Name, err)
	}
	out := driver.DeepCopy()
	out.ObjectMeta = changed.ObjectMeta
	return out, nil
}
