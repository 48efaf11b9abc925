// Package operatorcondition tells the Operator Lifecycle Manager whether the operator may be upgraded.
package operatorcondition

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers/trigger"
	"github.com/image-csi/image-csi-operator/internal/operator/ownership"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// retryAfter is when to look again after a conflict: another controller wrote to the object meanwhile.
const retryAfter = 100 * time.Millisecond

// Reconciler reports to the Operator Lifecycle Manager whether the operator may be upgraded, in the object that OLM made
// for this. OLM names the object in the operator's environment, and grants the rights to read and change it, so it is neither
// watched nor in config/rbac. The object has no Go type here, because that would need OLM's module for one list.
type Reconciler struct {
	// Client reads drivers from the cache, and writes.
	Client client.Client
	// Direct reads the object.
	Direct client.Reader
	// Clock is for the times of transitions.
	Clock clock.PassiveClock
	// Object is the OperatorCondition's namespace and name.
	Object types.NamespacedName
}

var _ reconcile.Reconciler = (*Reconciler)(nil)

// SetupWithManager registers the controller. It reconciles once at its start, too: what an earlier operator wrote may be
// outdated, and without a driver there is no other event.
func (o *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	it := reconcile.Request{NamespacedName: o.Object}
	return ctrl.NewControllerManagedBy(mgr).
		Named("operatorcondition").
		WatchesRawSource(source.Func(func(_ context.Context, q trigger.Queue) error {
			q.Add(it)
			return nil
		})).
		Watches(&v1alpha1.ImageCSIDriver{}, handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
			return []reconcile.Request{it}
		}), builder.WithPredicates(upgradeChanges())).
		Complete(o)
}

// upgradeChanges lets through updates of a driver that change whether the operator may be upgraded.
func upgradeChanges() predicate.Predicate {
	return trigger.Updates(func(before, after *v1alpha1.ImageCSIDriver) bool {
		return status.Upgradeable([]v1alpha1.ImageCSIDriver{*before}) != status.Upgradeable([]v1alpha1.ImageCSIDriver{*after})
	})
}

// Reconcile writes the condition if it is not what it should be. Without OLM there is nothing to write to.
func (o *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var drivers v1alpha1.ImageCSIDriverList
	if err := o.Client.List(ctx, &drivers); err != nil {
		return ctrl.Result{}, fmt.Errorf("list ImageCSIDrivers: %w", err)
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: "operators.coreos.com", Version: "v2", Kind: "OperatorCondition"})
	if err := o.Direct.Get(ctx, o.Object, object); err != nil {
		if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
			log.FromContext(ctx).V(1).Info("There is no OperatorCondition to write to", "condition", o.Object)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read OperatorCondition %s, for which OLM grants the right: %w", o.Object, err)
	}
	want := status.Upgradeable(drivers.Items)
	want.LastTransitionTime = metav1.NewTime(o.Clock.Now())
	err := o.write(ctx, object, want)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: retryAfter}, nil
	}
	return ctrl.Result{}, err
}

// write puts a condition into the object's spec, from where OLM takes it to the status. Others' conditions stay.
func (o *Reconciler) write(ctx context.Context, object *unstructured.Unstructured, want metav1.Condition) error {
	live, _, err := unstructured.NestedSlice(object.Object, "spec", "conditions")
	if err != nil {
		return fmt.Errorf("read the conditions of OperatorCondition %s: %w", o.Object, err)
	}
	var ours []metav1.Condition
	conditions := []any{}
	for _, condition := range live {
		fields, is := condition.(map[string]any)
		if !is || fields["type"] != want.Type {
			conditions = append(conditions, condition)
			continue
		}
		ours = make([]metav1.Condition, 1)
		if runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &ours[0]) != nil {
			ours = nil // It is no valid condition, and is replaced.
		}
	}
	if !meta.SetStatusCondition(&ours, want) {
		return nil
	}
	// The patch replaces the whole list. With the version, the server refuses it if the list was changed meanwhile.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": object.GetResourceVersion()},
		"spec":     map[string]any{"conditions": append(conditions, ours[0])},
	})
	if err != nil {
		return fmt.Errorf("write the condition %s: %w", want.Type, err)
	}
	if err := o.Client.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(ownership.Operator)); err != nil {
		return fmt.Errorf("write the condition %s of OperatorCondition %s: %w", want.Type, o.Object, err)
	}
	log.FromContext(ctx).Info("Wrote the condition Upgradeable for OLM", "status", want.Status, "reason", want.Reason)
	return nil
}
