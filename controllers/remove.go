package controllers

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// remove removes a driver in an order in which no pod loses a volume and no kubelet a driver it needs. First goes each node's
// label, and with it the node plugin, once nothing there uses a volume. After the last of them go the DaemonSets, then the
// CSIDriver objects and labels that are left, and the finalizer last. On nodes that another driver needs, the label and the
// node plugin stay until the last of them, too. An unmanaged driver is released with everything left in place.
//
// The objects have no owner reference: a foreground deletion of the ImageCSIDriver would otherwise delete the
// DaemonSets at once, whatever the finalizer says.
func (r *ImageCSIDriverReconciler) remove(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	if seen.driver.Spec.ManagementState == v1alpha1.Unmanaged {
		return r.release(ctx, seen, out)
	}
	out.removal = stageOf(seen.driver) // Until this reconcile finds another.
	out.fleet = r.everyNode(seen, out.fleet)
	out, err := r.run(ctx, seen, out, []phase{{name: "find users", do: r.findUsers}})
	if err != nil {
		return out, err
	}
	if out.removal == status.RemovalWaiting {
		return r.run(ctx, seen, out, r.whileWaiting(seen, out))
	}
	return r.run(ctx, seen, out, []phase{
		{name: "stop", do: r.stop, needed: true},
		{name: "clean up", do: r.cleanUp, needed: true},
		{name: "unlabel", do: r.unlabel, needed: true},
		{name: "forget sandboxes", do: r.forgetSandboxes, needed: true},
		{name: "release", do: r.finish},
	})
}

// whileWaiting are the phases of a removal that waits for pods. Nodes that no pod needs are left. The objects and the nodes' classes
// of the others are repaired, unless the driver has given up its names or is refused.
func (r *ImageCSIDriverReconciler) whileWaiting(seen *snapshot, out outcome) (phases []phase) {
	if out.usersKnown {
		phases = append(phases, phase{name: "unlabel", do: r.unlabel})
	}
	if !conflicts.Gone(seen.driver) && seen.cluster.Check(seen.driver) == nil {
		phases = append(phases, phase{name: "relabel", do: r.relabel}, phase{name: "rollout", do: r.planRollout},
			phase{name: "apply", do: r.apply}, phase{name: "replace", do: r.replace})
	}
	return phases
}

// findUsers finds the pods that still use a volume of the driver, and the stage of the removal: whether there are any to wait for.
// If the answer is not fresh, other nodes may have some, too.
func (r *ImageCSIDriverReconciler) findUsers(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	waiting := false
	if stageOf(seen.driver) != status.RemovalStopping { // Then it is too late for a pod that came since.
		found, err := r.usersOf(ctx, seen.driver, seen.namesOf(seen.driver))
		out.fleet = out.fleet.usedBy(seen.driver, found.pods)
		if err != nil {
			return out, err
		}
		out.usersKnown = found.fresh
		out.wait(found.next)
		waiting = len(found.pods) > 0 && !ignores(seen.driver)
	}
	if waiting {
		out.removal = status.RemovalWaiting
		out.wait(seen.kindsPending)
		return out, nil
	}
	out.removal = status.RemovalStopping
	out.lingering = status.Linger(observation(seen, out, nil), r.Clock.Now())
	return out, nil
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

// stop deletes the DaemonSets. What follows waits until they and their pods are gone, except for abandoned pods, and until
// everything that the driver may have is known. Deletion events start the next reconcile.
func (r *ImageCSIDriverReconciler) stop(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	stopped := len(out.daemonSets) == 0 && len(out.fleet.pods) == out.lingering.Abandoned.Len()
	var daemonSets []render.Object
	for _, object := range seen.objects {
		if _, is := object.(*appsv1.DaemonSet); is {
			daemonSets = append(daemonSets, object)
		}
	}
	out, err := r.deleteObjects(ctx, out, daemonSets)
	out.wait(out.lingering.Next)
	out.done = !stopped
	if err != nil || out.done {
		return out, err
	}
	more, err := r.hasPlugins(ctx, seen.driver, out.lingering)
	switch {
	case err != nil:
		return out, err
	case more:
		out.wait(r.RecheckPeriod)
		out.done = true
	case seen.kindsPending > 0: // There may be objects that are not seen yet.
		out.lingering.Unclear = seen.unclear
		out.wait(seen.kindsPending)
		out.done = true
	case seen.policiesPending > 0 && seen.policies.State == status.PoliciesPending:
		out.done = true // There may be a guard that is not seen yet; after half a minute, it stays.
	}
	return out, nil
}

// hasPlugins asks the API server whether a driver has DaemonSets or pods of them, because the cache may lag behind, and after
// this nothing looks for them again.
func (r *ImageCSIDriverReconciler) hasPlugins(ctx context.Context, driver *v1alpha1.ImageCSIDriver, lingering status.Lingering) (bool, error) {
	var (
		daemonSets appsv1.DaemonSetList
		pods       corev1.PodList
	)
	// One more than the abandoned pods is enough to know.
	most := int64(lingering.Abandoned.Len() + 1)
	for _, list := range []client.ObjectList{&daemonSets, &pods} {
		if err := r.Direct.List(ctx, list, client.InNamespace(r.Settings.Namespace),
			client.MatchingLabels{contract.DriverLabel: driver.Name}, client.Limit(most)); err != nil {
			return false, fmt.Errorf("make sure that the node plugins have ended (%T): %w", list, err)
		}
	}
	return len(daemonSets.Items) > 0 || slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool {
		return !lingering.Abandoned.Has(pod.Name)
	}), nil
}

// cleanUp deletes the objects that are left.
func (r *ImageCSIDriverReconciler) cleanUp(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	return r.deleteObjects(ctx, out, seen.objects)
}

// finish releases a driver of which nothing is left.
func (r *ImageCSIDriverReconciler) finish(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	out.removal = status.RemovalDone
	return r.release(ctx, seen, out)
}

// reportGone is for a driver that has neither a finalizer of the operator's nor anything in the cluster.
func (r *ImageCSIDriverReconciler) reportGone(_ context.Context, seen *snapshot, out outcome) (outcome, error) {
	out.removal = status.RemovalDone
	out.lingering = status.Linger(observation(seen, out, nil), r.Clock.Now())
	return out, nil
}
