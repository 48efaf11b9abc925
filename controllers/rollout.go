package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/rollout"
)

// planRollout decides which form the rendered DaemonSets get, puts that into the objects, and returns what else to do.
func (r *ImageCSIDriverReconciler) planRollout(ctx context.Context, seen *observation, objects []render.Object) (plan rollout.Decision, err error) {
	ctx, span := r.phase(ctx, "rollout")
	defer end(span, &err)
	in := rollout.Input{Spec: seen.Driver.Spec.Rollout, Generation: seen.Driver.Generation, Now: r.Clock.Now(), Seen: r.sightings[seen.Driver.Name]}
	var indexes []int
	for i, object := range objects {
		daemonSet, is := object.(*appsv1.DaemonSet)
		if !is {
			continue
		}
		live, err := r.liveDaemonSet(ctx, seen, daemonSet)
		if err != nil {
			return rollout.Decision{}, err
		}
		in.Classes = append(in.Classes, rollout.Class{Rendered: daemonSet, Live: live})
		indexes = append(indexes, i)
	}
	if err := r.populate(seen, in.Classes); err != nil {
		return rollout.Decision{}, err
	}
	decision, err := rollout.Decide(in)
	if err == nil && len(decision.Absent) > 0 {
		r.askWhy(ctx, in.Classes, decision.Absent)
		decision, err = rollout.Decide(in)
	}
	if err != nil {
		return decision, err
	}
	r.remember(seen.Driver.Name, decision.Seen)
	for i, daemonSet := range decision.DaemonSets {
		objects[indexes[i]] = daemonSet
	}
	return decision, nil
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
func (r *ImageCSIDriverReconciler) remember(driver string, seen rollout.Sightings) {
	if len(seen) == 0 {
		delete(r.sightings, driver)
		return
	}
	if r.sightings == nil {
		r.sightings = map[string]rollout.Sightings{}
	}
	r.sightings[driver] = seen
}

// liveDaemonSet returns the DaemonSet in the cluster; nil if there is none. A DaemonSet whose label was removed is not in the
// cache, but its record of the rollout still counts.
func (r *ImageCSIDriverReconciler) liveDaemonSet(ctx context.Context, seen *observation, rendered *appsv1.DaemonSet) (*appsv1.DaemonSet, error) {
	if live, is := render.Find(seen.existing, rendered).(*appsv1.DaemonSet); is {
		return live, nil
	}
	live := &appsv1.DaemonSet{}
	err := r.Direct.Get(ctx, client.ObjectKeyFromObject(rendered), live)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read DaemonSet %s: %w", rendered.Name, err)
	}
	seen.existing = append(seen.existing, live)
	return live, nil
}

// populate gives the classes their nodes and pods: all of them unless nothing is to be rolled out.
func (r *ImageCSIDriverReconciler) populate(seen *observation, classes []rollout.Class) error {
	for i := range classes {
		populateClass(seen, &classes[i])
	}
	rest, err := rollout.Rest(classes)
	if err != nil || rest {
		return err
	}
	r.everyNode(seen)
	for i := range classes {
		populateClass(seen, &classes[i])
	}
	return nil
}

func populateClass(seen *observation, class *rollout.Class) {
	name := class.Rendered.Labels[contract.NodeClassLabel]
	class.Nodes, class.Pods, class.Settled = nil, nil, int(seen.Settled.In(name))
	for i := range seen.Nodes {
		if place := &seen.Nodes[i]; place.Current == name {
			class.Nodes = append(class.Nodes, rollout.NodeOf(&seen.nodes[i],
				place.Registered.Has(seen.Driver.Name), place.Registered.HasAll(seen.Names...)))
		}
	}
	for i := range seen.Pods {
		if seen.Pods[i].Labels[contract.NodeClassLabel] == name {
			class.Pods = append(class.Pods, &seen.Pods[i])
		}
	}
}

// replacePods deletes node plugins whose turn it is. Their volumes stay mounted, and their DaemonSet makes new ones.
func (r *ImageCSIDriverReconciler) replacePods(ctx context.Context, pods []*corev1.Pod) (err error) {
	ctx, span := r.phase(ctx, "replace")
	defer end(span, &err)
	var failures []error
	for _, pod := range pods {
		err := r.Client.Delete(ctx, pod, client.Preconditions{UID: ptr.To(pod.UID)})
		if client.IgnoreNotFound(err) != nil {
			failures = append(failures, fmt.Errorf("replace the node plugin's pod %s on node %s: %w", pod.Name, pod.Spec.NodeName, err))
			continue
		}
		log.FromContext(ctx).Info("Replaced the node plugin", "pod", pod.Name, "node", pod.Spec.NodeName)
	}
	return errors.Join(failures...)
}
