package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/internal/operator/ownership"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// apply applies the driver's objects in the form that the rollout has decided, and deletes those that it no longer needs.
func (r *ImageCSIDriverReconciler) apply(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	if out.changes == nil {
		return out, nil // The rollout could not be planned.
	}
	var failures []error
	for _, object := range out.changes.apply {
		answer, wait, err := r.applyObject(ctx, seen.driver.Name, object, render.Find(out.changes.live, object))
		out.wait(wait)
		failures = append(failures, err)
		out.incomplete = out.incomplete || (err != nil && render.NeededByPods(object))
		if answer != nil && !render.IsSandboxProbe(answer) {
			out.daemonSets = append(withoutDaemonSet(out.daemonSets, answer.Name), *answer)
		}
	}
	out, err := r.deleteObjects(ctx, out, out.changes.surplus)
	failures = append(failures, err)
	contests, forgotten := r.contestsOf(seen.driver.Name)
	out.contests = contests
	out.wait(forgotten)
	return out, reportable(failures)
}

// applyObject writes an object unless the server holds exactly the fields that the operator wants to own, with its values. It
// returns the server's answer for a DaemonSet, and how long an object that is contested has to wait, or 0.
func (r *ImageCSIDriverReconciler) applyObject(ctx context.Context, driver string, object, live render.Object) (answer *appsv1.DaemonSet,
	wait time.Duration, err error) {
	want, err := render.Fields(object)
	if err != nil {
		return nil, 0, err
	}
	if live != nil && ownership.Holds(live, want, ownership.Operator) {
		return nil, 0, nil
	}
	contents, err := contentsOf(want)
	if err != nil {
		return nil, 0, err
	}
	key := objectKey{driver, render.KindOf(object), object.GetName()}
	if wait := r.contestWait(key, live, contents); wait > 0 {
		return nil, wait, errPutOff
	}
	if _, isDaemonSet := live.(*appsv1.DaemonSet); isDaemonSet {
		// The rollout decided on this version. Applied over a newer one, the decision could undo what was done since.
		want.SetResourceVersion(live.GetResourceVersion())
	}
	if err := r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(want), FieldOwner, client.ForceOwnership); err != nil {
		r.fields.Forget(err)
		return nil, 0, fmt.Errorf("apply %s %s: %w", object.GetObjectKind().GroupVersionKind().Kind, object.GetName(), err)
	}
	r.noteApplied(key, live, contents, want)
	log.FromContext(ctx).Info("Applied", "kind", want.GetKind(), "object", want.GetName())
	answer, err = daemonSetOf(want)
	return answer, 0, err
}

// daemonSetOf returns the server's answer for a DaemonSet; nil for another kind.
func daemonSetOf(answer *unstructured.Unstructured) (*appsv1.DaemonSet, error) {
	if answer.GetKind() != "DaemonSet" {
		return nil, nil
	}
	var daemonSet appsv1.DaemonSet
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, &daemonSet); err != nil {
		return nil, fmt.Errorf("read the server's answer for DaemonSet %s: %w", answer.GetName(), err)
	}
	return &daemonSet, nil
}

func withoutDaemonSet(daemonSets []appsv1.DaemonSet, name string) []appsv1.DaemonSet {
	return slices.DeleteFunc(slices.Clone(daemonSets), func(d appsv1.DaemonSet) bool { return d.Name == name })
}

// deleteObjects deletes some of the driver's objects.
func (r *ImageCSIDriverReconciler) deleteObjects(ctx context.Context, out outcome, objects []render.Object) (outcome, error) {
	var failures []error
	for _, object := range objects {
		if !object.GetDeletionTimestamp().IsZero() {
			continue
		}
		err := r.deleteObject(ctx, object)
		failures = append(failures, err)
		if err != nil {
			continue
		}
		// To make it again is no repair.
		delete(r.contests, objectKey{out.driver.Name, render.KindOf(object), object.GetName()})
		if _, is := object.(*appsv1.DaemonSet); is {
			out.daemonSets = withoutDaemonSet(out.daemonSets, object.GetName())
		}
	}
	return out, errors.Join(failures...)
}

// deleteObject deletes one of the driver's objects, unless it was replaced or relabelled meanwhile.
func (r *ImageCSIDriverReconciler) deleteObject(ctx context.Context, object render.Object) error {
	same := client.Preconditions{UID: ptr.To(object.GetUID())}
	if _, isDaemonSet := object.(*appsv1.DaemonSet); !isDaemonSet {
		same.ResourceVersion = ptr.To(object.GetResourceVersion())
	}
	if err := r.Client.Delete(ctx, object, same, client.PropagationPolicy("Background")); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %s %s: %w", render.KindOf(object), object.GetName(), err)
	}
	log.FromContext(ctx).Info("Deleted", "kind", render.KindOf(object), "object", object.GetName())
	return nil
}
