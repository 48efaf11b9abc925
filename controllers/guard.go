package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/contest"
	"github.com/image-csi/image-csi-operator/internal/operator/ownership"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// The API server lets only those write a policy with a parameter, or a binding of one, who may get the parameter's objects.
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies;validatingadmissionpolicybindings,resourceNames=image-csi-uninstall,verbs=create;patch;delete
// +kubebuilder:rbac:groups=storage.imagecsi.dev,resources=imagecsidrivers,verbs=get

const (
	// guardWithin is the timeout for all writes of the guard in one reconcile.
	guardWithin = 2 * time.Second
	// longestGuardBackoff bounds the time between two tries to write a guard that cannot be written.
	longestGuardBackoff = 5 * time.Minute
)

// guard is the state of the policy that guards the installation. Drivers are reconciled one at a time, so it needs no lock.
type guard struct {
	// history of writes, so that another controller that changes or deletes the guard does not set the pace of repairs.
	history contest.History
	// applied are the objects that the operator has written, which the cache may not have seen yet.
	applied map[string]types.UID
	// failures in a row, the text of the last one, and when to try again.
	failures int
	failure  string
	retry    time.Time
}

// guard prevents that the installation is deleted before a driver that has the operator's finalizer, where the API server has
// admission policies. The driver does not depend on it: a failure is logged once and tried again after a growing backoff.
// guard returns when, or 0.
func (r *ImageCSIDriverReconciler) guard(ctx context.Context, seen *snapshot, out outcome) time.Duration {
	if out.released || !controllerutil.ContainsFinalizer(out.driver, contract.Finalizer) || seen.policies.State != status.PoliciesRead {
		return 0
	}
	g, now := &r.guarding, r.Clock.Now()
	if wait := g.retry.Sub(now); wait > 0 {
		return wait
	}
	wait, err := r.writeGuard(ctx)
	switch {
	case err == nil:
		g.failures, g.failure, g.retry = 0, "", time.Time{}
		return wait
	case ctx.Err() != nil:
		return 0 // The operator ends.
	case err.Error() != g.failure:
		g.failure = err.Error()
		log.FromContext(ctx).Error(err, "Cannot write the policy that prevents deletion of the installation before its drivers; it is tried again, and drivers work without it")
	}
	wait = min(longestGuardBackoff, time.Second<<min(g.failures, 16))
	g.failures++
	g.retry = now.Add(wait)
	return wait
}

// writeGuard applies the parts of the guard that the server does not hold. If it is changed from outside again and again,
// writeGuard returns when to try again.
func (r *ImageCSIDriverReconciler) writeGuard(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, guardWithin)
	defer cancel()
	policy, binding := render.Guard(r.Settings)
	wrote := false
	for _, object := range []render.Object{policy, binding} {
		want, err := render.Fields(object)
		if err != nil {
			return 0, err
		}
		live, err := r.policies.Find(ctx, object)
		if err != nil {
			return 0, err
		}
		if live != nil && !isOfOperator(live) {
			return 0, fmt.Errorf("%s %s was not made by this operator, which leaves it unchanged; delete it or give it another name", want.GetKind(), want.GetName())
		}
		if live != nil && ownership.Holds(live, want, ownership.Operator) {
			continue
		}
		if wait := r.guarding.history.Wait(render.GuardName, r.Clock.Now()); !wrote && wait > 0 {
			return wait, nil
		}
		wrote = true
		if err := r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(want), FieldOwner, client.ForceOwnership); err != nil {
			return 0, fmt.Errorf("apply %s %s: %w", want.GetKind(), want.GetName(), err)
		}
		r.guarding.applied[want.GetKind()] = want.GetUID()
		log.FromContext(ctx).Info("Applied", "kind", want.GetKind(), "object", want.GetName())
	}
	if wrote {
		r.guarding.history = r.guarding.history.Apply(render.GuardName, r.Clock.Now())
	}
	return 0, nil
}

// isOfOperator reports whether the operator made a policy or binding: by its label or, if that was removed, by the server's
// record.
func isOfOperator(object render.Object) bool {
	return object.GetLabels()[render.ManagedByLabel] == ownership.Operator || ownership.HasApplied(object, ownership.Operator)
}

// dropGuard deletes the guard if the operator made it.
func (r *ImageCSIDriverReconciler) dropGuard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, guardWithin)
	defer cancel()
	var failures []error
	policy, binding := render.Guard(r.Settings)
	for _, object := range []render.Object{binding, policy} { // A policy without a binding does nothing.
		kind := render.KindOf(object)
		uid, known := r.guarding.applied[kind]
		delete(r.guarding.applied, kind)
		live, err := r.policies.Find(ctx, object)
		if err != nil {
			failures = append(failures, err)
		} else if !known && live != nil && isOfOperator(live) {
			uid, known = live.GetUID(), true
		}
		if !known {
			continue
		}
		err = r.Client.Delete(ctx, object, client.Preconditions{UID: ptr.To(uid)})
		if client.IgnoreNotFound(err) != nil {
			failures = append(failures, fmt.Errorf("delete %s %s: %w", kind, object.GetName(), err))
		} else if err == nil {
			log.FromContext(ctx).Info("Deleted", "kind", kind, "object", object.GetName())
		}
	}
	r.guarding.history = contest.History{}
	return errors.Join(failures...)
}
