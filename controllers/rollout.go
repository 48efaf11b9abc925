package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/rollout"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
)

// changes are what is to be done with the driver's objects.
type changes struct {
	// apply are the driver's objects, its DaemonSets in the form that the rollout has decided, and surplus those that it no longer
	// needs.
	apply, surplus []render.Object
	// live are the driver's objects in the cluster.
	live []render.Object
	// replace are the node plugins' pods whose turn it is.
	replace []*corev1.Pod
}

// planRollout renders the driver's objects and decides which form its DaemonSets get.
func (r *ImageCSIDriverReconciler) planRollout(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	classes, unresolved := classesInUse(seen, out.fleet)
	output := render.Render(render.Input{
		Driver: out.driver, Names: seen.names, Classes: classes, Unresolved: unresolved, Kinds: seen.kinds, Unclear: seen.unclear,
		Existing: seen.objects, CSIDrivers: seen.csiDrivers, Settings: r.Settings, Lacking: r.fields.Lacks(ctx),
	})
	out.seccomp, out.costs = output.Seccomp, output.Costs
	out.wait(seen.kindsPending)
	live, err := r.withUnlabelled(ctx, seen.objects, output.Apply)
	if err != nil {
		return out, err
	}
	in := rollout.Input{Names: seen.names, Spec: out.driver.Spec.Rollout, Generation: out.driver.Generation, Now: r.Clock.Now(), Seen: r.sightings[out.driver.Name]}
	for _, object := range output.Apply {
		if rendered, is := object.(*appsv1.DaemonSet); is && !render.IsSandboxProbe(rendered) {
			found, _ := render.Find(live, rendered).(*appsv1.DaemonSet)
			in.Classes = append(in.Classes, rollout.Class{Rendered: rendered, Live: found})
		}
	}
	if out.fleet, in.Classes, err = r.populate(seen, out.fleet, in.Classes); err != nil {
		return out, err
	}
	decision, err := rollout.Decide(in)
	if err == nil && len(decision.Absent) > 0 {
		r.askWhy(ctx, in.Classes, decision.Absent)
		decision, err = rollout.Decide(in)
	}
	if err != nil {
		return out, err
	}
	r.remember(out.driver.Name, decision.Seen)
	out.rollout, out.stopped, out.absent = decision.Status, decision.Stopped, decision.Absent
	out.changes = &changes{apply: decided(output.Apply, decision.DaemonSets), surplus: output.Delete, live: live, replace: decision.Replace}
	out.wait(decision.Next)
	out.wait(decision.Recheck)
	return out, nil
}

// classesInUse returns the classes that nodes are labelled with, and the names of those that the table does not have.
func classesInUse(seen *snapshot, fleet fleet) (classes []nodeclass.Class, unresolved []string) {
	policies := map[string]sets.Set[nodeclass.SELinuxPolicy]{}
	add := func(class string, policy nodeclass.SELinuxPolicy) {
		if policies[class] == nil {
			policies[class] = sets.New[nodeclass.SELinuxPolicy]()
		}
		policies[class].Insert(policy)
	}
	for _, node := range fleet.nodes {
		add(node.Current, node.Policy)
	}
	for kind := range fleet.settled {
		add(kind.Class, kind.Policy)
	}
	delete(policies, "")
	for name, of := range policies {
		if class, known := seen.table.Lookup(name); known {
			classes = append(classes, class.On(of, policyBefore(seen, name)))
		} else {
			unresolved = append(unresolved, name)
		}
	}
	return classes, unresolved
}

// policyBefore returns whose SELinux policy a class's node plugins are made for at present.
func policyBefore(seen *snapshot, class string) nodeclass.SELinuxPolicy {
	for i := range seen.daemonSets {
		containers := seen.daemonSets[i].Spec.Template.Spec.Containers
		if seen.daemonSets[i].Labels[contract.NodeClassLabel] == class && len(containers) > 0 {
			return security.PolicyOf(containers[0].SecurityContext)
		}
	}
	return nodeclass.PolicyUnknown
}

// decided returns rendered objects with their DaemonSets, in the same order, as the rollout has decided.
func decided(rendered []render.Object, daemonSets []*appsv1.DaemonSet) []render.Object {
	out := make([]render.Object, 0, len(rendered))
	for _, object := range rendered {
		if daemonSet, is := object.(*appsv1.DaemonSet); is && !render.IsSandboxProbe(daemonSet) {
			object, daemonSets = daemonSets[0], daemonSets[1:]
		}
		out = append(out, object)
	}
	return out
}

// askWhy finds out why the DaemonSet controller could not create pods. Events are read only while pods are missing. Without an
// answer the messages are less helpful, but the decisions are the same.
func (r *ImageCSIDriverReconciler) askWhy(ctx context.Context, classes []rollout.Class, absent []rollout.Absent) {
	for i := range classes {
		live := classes[i].Live
		if live == nil || !slices.ContainsFunc(absent, func(a rollout.Absent) bool { return a.DaemonSet == live.Name }) {
			continue
		}
		var events corev1.EventList
		err := r.Direct.List(ctx, &events, client.InNamespace(live.Namespace), client.Limit(mostEvents),
			client.MatchingFields{"involvedObject.uid": string(live.UID), "reason": failedCreate})
		if err != nil {
			log.FromContext(ctx).Error(err, "Cannot read why a DaemonSet creates no pod", "daemonSet", live.Name)
			continue
		}
		classes[i].Refused = pluginpod.Refusal(events.Items)
	}
}

// failedCreate is the reason of the DaemonSet controller's event about a pod that the API server refused (Kubernetes,
// pkg/controller/controller_utils.go). The same message again is counted in the same event.
const failedCreate = "FailedCreate"

// mostEvents bounds how many events are read.
const mostEvents = 500

// remember keeps what a decision saw for the next one about the same driver.
func (r *ImageCSIDriverReconciler) remember(driver string, sightings rollout.Sightings) {
	if len(sightings) == 0 {
		delete(r.sightings, driver)
		return
	}
	if r.sightings == nil {
		r.sightings = map[string]rollout.Sightings{}
	}
	r.sightings[driver] = sightings
}

// withUnlabelled returns the driver's objects in the cluster with those DaemonSets among them whose label was removed: they are
// not in the cache, but their record of the rollout still counts.
func (r *ImageCSIDriverReconciler) withUnlabelled(ctx context.Context, objects, rendered []render.Object) ([]render.Object, error) {
	out := slices.Clone(objects)
	for _, object := range rendered {
		if _, is := object.(*appsv1.DaemonSet); !is || render.Find(objects, object) != nil {
			continue
		}
		live := &appsv1.DaemonSet{}
		err := r.Direct.Get(ctx, client.ObjectKeyFromObject(object), live)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("read DaemonSet %s: %w", object.GetName(), err)
		}
		if err == nil {
			out = append(out, live)
		}
	}
	return out, nil
}

// populate gives the classes their nodes and pods: all of them unless nothing is to be rolled out. It returns the fleet with the
// nodes that it needed.
func (r *ImageCSIDriverReconciler) populate(seen *snapshot, of fleet, classes []rollout.Class) (fleet, []rollout.Class, error) {
	populated := populatedBy(of, classes)
	rest, err := rollout.Rest(seen.names, populated)
	if err != nil || rest {
		return of, populated, err
	}
	of = r.everyNode(seen, of)
	return of, populatedBy(of, classes), nil
}

func populatedBy(of fleet, classes []rollout.Class) []rollout.Class {
	out := slices.Clone(classes)
	for i := range out {
		class := &out[i]
		name := class.Rendered.Labels[contract.NodeClassLabel]
		class.Settled = int(of.settled.In(name))
		for j := range of.nodes {
			if at := &of.nodes[j]; at.Current == name {
				class.Nodes = append(class.Nodes, *at)
			}
		}
		for j := range of.pods {
			if of.pods[j].Labels[contract.NodeClassLabel] == name {
				class.Pods = append(class.Pods, &of.pods[j])
			}
		}
	}
	return out
}

// replace deletes the node plugins' pods whose turn it is. Their volumes stay mounted, and their DaemonSet makes new ones, of the
// form that it has, which may have been changed from outside.
func (r *ImageCSIDriverReconciler) replace(ctx context.Context, _ *snapshot, out outcome) (outcome, error) {
	if out.changes == nil || out.incomplete {
		return out, nil
	}
	var failures []error
	for _, pod := range out.changes.replace {
		err := r.Client.Delete(ctx, pod, client.Preconditions{UID: ptr.To(pod.UID)})
		if client.IgnoreNotFound(err) != nil {
			failures = append(failures, fmt.Errorf("replace the node plugin's pod %s on node %s: %w", pod.Name, pod.Spec.NodeName, err))
			continue
		}
		log.FromContext(ctx).Info("Replaced the node plugin", "pod", pod.Name, "node", pod.Spec.NodeName)
	}
	return out, errors.Join(failures...)
}
