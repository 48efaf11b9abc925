package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/ownership"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
)

// applyObjects applies the driver's objects, deletes those that it no longer needs, and takes the rollout a step further. It
// returns when to look at the rollout again.
func (r *ImageCSIDriverReconciler) applyObjects(ctx context.Context, seen *observation) (next time.Duration, err error) {
	ctx, span := r.phase(ctx, "apply")
	defer end(span, &err)
	classes, unresolved := classesInUse(seen)
	output := render.Render(render.Input{
		Driver: seen.Driver, Classes: classes, Unresolved: unresolved, Kinds: seen.kinds, Unclear: seen.unclear,
		Existing: seen.existing, Settings: r.Settings,
		Lacking: r.served.lacks(ctx),
	})
	seen.Seccomp, seen.Costs = output.Seccomp, output.Costs
	plan, err := r.planRollout(ctx, seen, output.Apply)
	if err != nil {
		return 0, err
	}
	seen.Rollout, seen.Stopped, seen.Absent = plan.Status, plan.Stopped, plan.Absent
	var failures []error
	complete := true // All that a node plugin's pod needs is there, so pods can be replaced.
	for _, object := range output.Apply {
		err := r.apply(ctx, seen, object)
		failures = append(failures, err)
		complete = complete && (err == nil || !render.NeededByPods(object))
	}
	for _, object := range output.Delete {
		failures = append(failures, r.delete(ctx, seen, object))
	}
	seen.Contests = r.contestsOf(seen)
	// A replaced pod gets the form that its DaemonSet has, which may have been changed from outside.
	if complete {
		failures = append(failures, r.replacePods(ctx, plan.Replace))
	}
	return sooner(plan.Next, plan.Recheck), reportable(failures)
}

// classesInUse returns the classes that nodes are labelled with, and the names of those that the table does not have.
func classesInUse(seen *observation) (classes []nodeclass.Class, unresolved []string) {
	policies := map[string]sets.Set[nodeclass.SELinuxPolicy]{}
	add := func(class string, policy nodeclass.SELinuxPolicy) {
		if policies[class] == nil {
			policies[class] = sets.New[nodeclass.SELinuxPolicy]()
		}
		policies[class].Insert(policy)
	}
	for _, node := range seen.Nodes {
		add(node.Current, node.Policy)
	}
	for kind := range seen.Settled {
		add(kind.Class, kind.Policy)
	}
	delete(policies, "")
	for name, of := range policies {
		if class, known := seen.Table.Lookup(name); known {
			classes = append(classes, class.On(of, policyBefore(seen, name)))
		} else {
			unresolved = append(unresolved, name)
		}
	}
	return classes, unresolved
}

// policyBefore returns whose SELinux policy a class's node plugins are made for at present.
func policyBefore(seen *observation, class string) nodeclass.SELinuxPolicy {
	for i := range seen.DaemonSets {
		containers := seen.DaemonSets[i].Spec.Template.Spec.Containers
		if seen.DaemonSets[i].Labels[contract.NodeClassLabel] == class && len(containers) > 0 {
			return security.PolicyOf(containers[0].SecurityContext)
		}
	}
	return nodeclass.PolicyUnknown
}

// apply writes an object unless the server holds exactly the fields that the operator wants to own, with its values.
func (r *ImageCSIDriverReconciler) apply(ctx context.Context, seen *observation, object render.Object) error {
	want, err := render.Fields(object)
	if err != nil {
		return err
	}
	live := render.Find(seen.existing, object)
	if live != nil && ownership.Holds(live, want, string(FieldOwner)) {
		return nil
	}
	contents, err := contentsOf(want)
	if err != nil {
		return err
	}
	if r.putOff(seen, object, live, contents) {
		return errPutOff
	}
	if _, isDaemonSet := live.(*appsv1.DaemonSet); isDaemonSet {
		// The rollout decided on this version. Applied over a newer one, the decision could undo what was done since.
		want.SetResourceVersion(live.GetResourceVersion())
	}
	if err := r.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(want), FieldOwner, client.ForceOwnership); err != nil {
		r.served.forget(err)
		return fmt.Errorf("apply %s %s: %w", object.GetObjectKind().GroupVersionKind().Kind, object.GetName(), err)
	}
	r.noteApplied(seen, object, live, contents, want)
	log.FromContext(ctx).Info("Applied", "kind", want.GetKind(), "name", want.GetName())
	return keepDaemonSet(seen, want)
}

// keepDaemonSet puts the server's answer into the observation, so that the status describes the present DaemonSet.
func keepDaemonSet(seen *observation, answer *unstructured.Unstructured) error {
	if answer.GetKind() != "DaemonSet" {
		return nil
	}
	var daemonSet appsv1.DaemonSet
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, &daemonSet); err != nil {
		return fmt.Errorf("read the server's answer for DaemonSet %s: %w", answer.GetName(), err)
	}
	dropDaemonSet(seen, daemonSet.Name)
	seen.DaemonSets = append(seen.DaemonSets, daemonSet)
	return nil
}

func dropDaemonSet(seen *observation, name string) {
	seen.DaemonSets = slices.DeleteFunc(slices.Clone(seen.DaemonSets), func(d appsv1.DaemonSet) bool { return d.Name == name })
}

// delete deletes one of the driver's objects, unless it was replaced or relabelled meanwhile.
func (r *ImageCSIDriverReconciler) delete(ctx context.Context, seen *observation, object render.Object) error {
	if !object.GetDeletionTimestamp().IsZero() {
		return nil
	}
	same := client.Preconditions{UID: ptr.To(object.GetUID())}
	if _, isDaemonSet := object.(*appsv1.DaemonSet); !isDaemonSet {
		same.ResourceVersion = ptr.To(object.GetResourceVersion())
	}
	if err := r.Client.Delete(ctx, object, same, client.PropagationPolicy("Background")); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %s %s: %w", render.KindOf(object), object.GetName(), err)
	}
	log.FromContext(ctx).Info("Deleted", "kind", render.KindOf(object), "name", object.GetName())
	if _, isDaemonSet := object.(*appsv1.DaemonSet); isDaemonSet {
		dropDaemonSet(seen, object.GetName())
	}
	return nil
}
