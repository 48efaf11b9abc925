package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// remove removes a driver in an order in which no pod loses a volume and no kubelet a driver it needs. First goes each node's
// label, and with it the node plugin, once nothing there uses a volume. After the last of them go the DaemonSets, then the
// CSIDriver objects and labels that are left, and the finalizer last. On nodes that another driver needs, the label and the
// node plugin stay until the last of them, too. An unmanaged driver is released with everything left in place.
//
// The objects have no owner reference: a foreground deletion of the ImageCSIDriver would otherwise delete the
// DaemonSets at once, whatever the finalizer says.
func (r *ImageCSIDriverReconciler) remove(ctx context.Context, seen *observation) (next ctrl.Result, err error) {
	ctx, span := r.phase(ctx, "remove")
	defer end(span, &err)
	if seen.Driver.Spec.ManagementState == v1alpha1.Unmanaged {
		return ctrl.Result{}, r.letGo(ctx, seen)
	}
	seen.Removal = stageOf(seen.Driver) // Until this reconcile finds another.
	r.everyNode(seen)
	inUse, fresh, err := r.markUsers(ctx, seen)
	if err != nil {
		return ctrl.Result{}, err
	}
	if inUse {
		seen.Removal = status.RemovalWaiting
		if fresh {
			err = r.unlabel(ctx, seen)
		}
		return ctrl.Result{RequeueAfter: sooner(seen.recheck, seen.pending)}, errors.Join(err, r.keepUp(ctx, seen))
	}
	seen.Removal = status.RemovalStopping
	seen.Lingering = status.Linger(seen.Observation, r.Clock.Now())
	stopped, err := r.stop(ctx, seen)
	if err != nil || !stopped {
		return ctrl.Result{RequeueAfter: seen.Lingering.Next}, err
	}
	if more, err := r.hasPlugins(ctx, seen); err != nil || more {
		return ctrl.Result{RequeueAfter: r.RecheckPeriod}, err
	}
	if seen.pending > 0 {
		return ctrl.Result{RequeueAfter: seen.pending}, nil // There may be objects that are not seen yet.
	}
	if seen.policiesPending > 0 && seen.Policies.State == status.PoliciesPending {
		return ctrl.Result{}, nil // There may be a guard that is not seen yet; after half a minute, it stays.
	}
	if err := r.cleanUp(ctx, seen); err != nil {
		return ctrl.Result{}, err
	}
	seen.Removal = status.RemovalDone
	return ctrl.Result{}, r.letGo(ctx, seen)
}

// keepUp repairs the objects and the nodes' classes of a driver that has to stay for now because pods need it. It does nothing
// for a driver that has given up its names or is refused.
func (r *ImageCSIDriverReconciler) keepUp(ctx context.Context, seen *observation) error {
	if conflicts.Gone(seen.Driver) || seen.all.Check(seen.Driver) != nil {
		return nil
	}
	labelErr := r.relabel(ctx, seen)
	_, applyErr := r.applyObjects(ctx, seen)
	return errors.Join(labelErr, applyErr)
}

// markUsers records the pods that still use a volume of the driver, and reports whether there are any to wait for. If the
// answer is not fresh, other nodes may have some, too.
func (r *ImageCSIDriverReconciler) markUsers(ctx context.Context, seen *observation) (inUse, fresh bool, err error) {
	ctx, span := r.phase(ctx, "find users")
	defer end(span, &err)
	if stageOf(seen.Driver) == status.RemovalStopping {
		return false, true, nil // The node plugins are ending: too late for a pod that came since.
	}
	users, fresh, err := r.usersOf(ctx, seen, seen.namesOf(seen.Driver))
	seen.mark(users)
	return len(users) > 0 && !ignores(seen.Driver), fresh, err
}

// stageOf returns the stage of the driver's removal in its status; empty if the removal had not begun.
func stageOf(driver *v1alpha1.ImageCSIDriver) status.Removal {
	last := meta.FindStatusCondition(driver.Status.Conditions, v1alpha1.ConditionProgressing)
	if last == nil {
		return ""
	}
	switch stage := status.Removal(last.Reason); stage {
	case status.RemovalWaiting, status.RemovalStopping:
		return stage
	default:
		return ""
	}
}

// stop deletes the DaemonSets, and reports whether they and their pods are gone, except for abandoned pods. Their deletion
// events start the next reconcile.
func (r *ImageCSIDriverReconciler) stop(ctx context.Context, seen *observation) (stopped bool, err error) {
	ctx, span := r.phase(ctx, "stop")
	defer end(span, &err)
	stopped = len(seen.DaemonSets) == 0 && len(seen.Pods) == seen.Lingering.Abandoned.Len()
	var failures []error
	for _, object := range seen.existing {
		if _, isDaemonSet := object.(*appsv1.DaemonSet); isDaemonSet {
			failures = append(failures, r.delete(ctx, seen, object))
		}
	}
	return stopped, errors.Join(failures...)
}

// hasPlugins asks the API server whether a driver has DaemonSets or pods of them, because the cache may lag behind, and after
// this nothing looks for them again.
func (r *ImageCSIDriverReconciler) hasPlugins(ctx context.Context, seen *observation) (bool, error) {
	var (
		daemonSets appsv1.DaemonSetList
		pods       corev1.PodList
	)
	// One more than the abandoned pods is enough to know.
	most := int64(seen.Lingering.Abandoned.Len() + 1)
	for _, list := range []client.ObjectList{&daemonSets, &pods} {
		if err := r.Direct.List(ctx, list, client.InNamespace(r.Settings.Namespace),
			client.MatchingLabels{contract.DriverLabel: seen.Driver.Name}, client.Limit(most)); err != nil {
			return false, fmt.Errorf("make sure that the node plugins have ended (%T): %w", list, err)
		}
	}
	return len(daemonSets.Items) > 0 || slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool {
		return !seen.Lingering.Abandoned.Has(pod.Name)
	}), nil
}

// cleanUp removes everything but the finalizer.
func (r *ImageCSIDriverReconciler) cleanUp(ctx context.Context, seen *observation) (err error) {
	ctx, span := r.phase(ctx, "clean up")
	defer end(span, &err)
	var failures []error
	for _, object := range seen.existing {
		failures = append(failures, r.delete(ctx, seen, object))
	}
	if err := errors.Join(failures...); err != nil {
		return err
	}
	return r.unlabel(ctx, seen)
}

func (r *ImageCSIDriverReconciler) addFinalizer(ctx context.Context, driver *v1alpha1.ImageCSIDriver) error {
	return r.patchFinalizers(ctx, driver, controllerutil.AddFinalizer)
}

func (r *ImageCSIDriverReconciler) dropFinalizer(ctx context.Context, driver *v1alpha1.ImageCSIDriver) error {
	return client.IgnoreNotFound(r.patchFinalizers(ctx, driver, controllerutil.RemoveFinalizer))
}

func (r *ImageCSIDriverReconciler) patchFinalizers(ctx context.Context, driver *v1alpha1.ImageCSIDriver,
	change func(client.Object, string) bool) error {
	changed := driver.DeepCopy()
	if !change(changed, contract.Finalizer) {
		return nil
	}
	// A merge patch replaces the whole list. With the version, the server refuses it if the list was changed meanwhile.
	patch := client.MergeFromWithOptions(driver, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, changed, patch, FieldOwner); err != nil {
		return fmt.Errorf("change the finalizers of ImageCSIDriver %s: %w", driver.Name, err)
	}
	driver.ObjectMeta = changed.ObjectMeta
	return nil
}
