package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// label gives every node its class. A node that has a class of ours already keeps it while a pod there uses a volume.
func (r *ImageCSIDriverReconciler) label(ctx context.Context, seen *observation) (err error) {
	ctx, span := r.phase(ctx, "label")
	defer end(span, &err)
	var failures []error
	var changing []int
	for i := range seen.Nodes {
		free, err := r.free(ctx, seen, &seen.Nodes[i])
		failures = append(failures, err)
		if free {
			changing = append(changing, i)
		}
	}
	failures = append(failures, writeNodes(changing, func(i int) error {
		return r.labelNode(ctx, &seen.nodes[i], &seen.Nodes[i], seen.Nodes[i].Wanted)
	}))
	return errors.Join(failures...)
}

// free reports whether a node can get another class now, and records a pod that it waits for or ignores.
func (r *ImageCSIDriverReconciler) free(ctx context.Context, seen *observation, place *status.Node) (bool, error) {
	if place.Placed() || place.Current == "" {
		return !place.Placed(), nil
	}
	key := usageKey{driver: seen.Driver.UID, generation: seen.Driver.Generation, node: place.Name, class: place.Current}
	users, left := r.usage.get(key, r.Clock.Now())
	if left == 0 {
		free, err := r.isFree(ctx, seen, place)
		if err != nil {
			place.UsedBy = cmp.Or(place.UsedBy, users[place.Name]) // It may still run.
		}
		if free || err != nil {
			return free, err
		}
		users, left = map[string]string{place.Name: place.UsedBy}, r.RecheckPeriod
		r.usage.put(key, users, r.Clock.Now(), left)
	}
	place.UsedBy = users[place.Name]
	seen.recheck = sooner(seen.recheck, left)
	return false, nil
}

// isFree asks the API server whether no pod keeps a node in its class.
func (r *ImageCSIDriverReconciler) isFree(ctx context.Context, seen *observation, place *status.Node) (bool, error) {
	if err := r.markUser(ctx, seen, place); err != nil || place.UsedBy == "" {
		return err == nil, err
	}
	foreign, err := r.isForeign(ctx, place)
	if foreign {
		place.UsedBy = ""
	}
	return foreign, err
}

func (r *ImageCSIDriverReconciler) labelNode(ctx context.Context, node *corev1.Node, place *status.Node, class string) error {
	if err := r.setClass(ctx, node, class); err != nil {
		return err
	}
	place.Current = class
	return nil
}

// setClass writes a node's class label; an empty class removes it. A node that is gone needs no label.
func (r *ImageCSIDriverReconciler) setClass(ctx context.Context, node *corev1.Node, class string) error {
	changed := node.DeepCopy()
	if class == "" {
		delete(changed.Labels, contract.NodeClassLabel)
	} else {
		if changed.Labels == nil {
			changed.Labels = map[string]string{}
		}
		changed.Labels[contract.NodeClassLabel] = class
	}
	err := r.Client.Patch(ctx, changed, client.MergeFrom(node), FieldOwner)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("set the label %s of node %s to %q: %w", contract.NodeClassLabel, node.Name, class, err)
	}
	log.FromContext(ctx).Info("Set the node's class", "node", node.Name, "class", class)
	return nil
}

// unlabel removes the class of nodes that no other driver needs and on which no pod uses the driver. A class that another
// driver's DaemonSet selects stays, even if that driver's object is missing.
func (r *ImageCSIDriverReconciler) unlabel(ctx context.Context, seen *observation) (err error) {
	ctx, span := r.phase(ctx, "unlabel")
	defer end(span, &err)
	plan := placement.PlanOf(seen.all, seen.Driver.Name)
	selected, err := r.classesOfOthers(ctx, seen.Driver.Name)
	if err != nil {
		return err
	}
	var unneeded []int
	for i := range seen.nodes {
		place := plan.Of(&seen.nodes[i])
		if place.Current != "" && place.Wanted == "" && seen.Nodes[i].UsedBy == "" && !selected.Has(place.Current) {
			unneeded = append(unneeded, i)
		}
	}
	return writeNodes(unneeded, func(i int) error { return r.labelNode(ctx, &seen.nodes[i], &seen.Nodes[i], "") })
}

// classesOfOthers asks the API server for the classes that DaemonSets of other drivers select.
func (r *ImageCSIDriverReconciler) classesOfOthers(ctx context.Context, driver string) (sets.Set[string], error) {
	var daemonSets appsv1.DaemonSetList
	if err := r.Direct.List(ctx, &daemonSets, client.InNamespace(r.Settings.Namespace), client.HasLabels{contract.DriverLabel}); err != nil {
		return nil, fmt.Errorf("list DaemonSets to learn which node classes other drivers need: %w", err)
	}
	classes := sets.New[string]()
	for i := range daemonSets.Items {
		if labels := daemonSets.Items[i].Labels; labels[contract.DriverLabel] != driver {
			classes.Insert(labels[contract.NodeClassLabel])
		}
	}
	return classes, nil
}
