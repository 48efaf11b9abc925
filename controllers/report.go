package controllers

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// report writes the status if it changed, and an event for each condition that turned.
func (r *ImageCSIDriverReconciler) report(ctx context.Context, observed status.Observation) (err error) {
	ctx, span := r.span(ctx, "report")
	defer end(span, &err)
	before, after := observed.Driver, observed.Driver.DeepCopy()
	after.Status = status.Of(before.Status, observed, metav1.NewTime(r.Clock.Now()))
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return nil
	}
	written := after.DeepCopy()
	// Without the lock, a status computed from an old one would undo transitions and miss their events.
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, written, patch, FieldOwner); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil // The driver's finalizer was the last one, and now the object is gone.
		}
		return fmt.Errorf("write the status of ImageCSIDriver %s: %w", before.Name, err)
	}
	r.announce(before, after)
	r.announceIgnored(before, after, observed)
	return nil
}

// announceIgnored records an event when there are pods that were not waited for.
func (r *ImageCSIDriverReconciler) announceIgnored(before, after *v1alpha1.ImageCSIDriver, observed status.Observation) {
	isKnown := func(pod v1alpha1.IgnoredPod) bool { return slices.Contains(before.Status.IgnoredPods, pod) }
	for _, pod := range after.Status.IgnoredPods {
		if !isKnown(pod) {
			r.Recorder.Eventf(after, nil, corev1.EventTypeWarning, status.ReasonVolumesIgnored, "Ignore", "%s", status.IgnoredNote(observed))
			return
		}
	}
}

// announce records an event for every condition that turned, or that is true for another reason now.
func (r *ImageCSIDriverReconciler) announce(before, after *v1alpha1.ImageCSIDriver) {
	for _, condition := range after.Status.Conditions {
		old := meta.FindStatusCondition(before.Status.Conditions, condition.Type)
		if old != nil && old.Status == condition.Status && (condition.Status == metav1.ConditionFalse || old.Reason == condition.Reason) {
			continue
		}
		if old == nil && condition.Status == metav1.ConditionFalse {
			continue // A new driver is not available yet, and not degraded: no news.
		}
		kind := corev1.EventTypeNormal
		if (condition.Status == metav1.ConditionTrue) == (condition.Type == v1alpha1.ConditionDegraded) && condition.Type != v1alpha1.ConditionProgressing {
			kind = corev1.EventTypeWarning
		}
		r.Recorder.Eventf(after, nil, kind, condition.Reason, condition.Type+string(condition.Status), "%s", status.Shorten(condition.Message, maxNote))
	}
}

// maxNote keeps an event's note within the 1 kB that the API server takes.
const maxNote = 1000
