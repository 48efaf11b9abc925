package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

// label gives every node its class. A node that has a class of ours already keeps it while a pod there uses a volume.
func (r *ImageCSIDriverReconciler) label(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	// Most reconciles change no class, and need not know the volumes.
	volumes := sync.OnceValues(func() (volumeIndex, error) { return r.volumesOf(ctx, seen) })
	nodes := slices.Clone(out.fleet.nodes)
	var failures []error
	var changing []int
	for i := range nodes {
		hold, err := r.holdOf(ctx, seen.driver, &nodes[i], volumes)
		failures = append(failures, err)
		nodes[i].UsedBy, nodes[i].Ignored = hold.by, hold.ignored
		out.wait(hold.next)
		if hold.free {
			changing = append(changing, i)
		}
	}
	failures = append(failures, writeNodes(changing, func(i int) error { return r.labelNode(ctx, &nodes[i], nodes[i].Wanted) }))
	out.fleet.nodes = nodes
	return out, errors.Join(failures...)
}

// hold is what keeps a node in its class.
type hold struct {
	// free is set if the node wants another class and can get it now.
	free bool
	// by is the pod, as namespace/name, that the node waits for, and ignored one that it does not wait for.
	by, ignored string
	// next is when to look again, or 0.
	next time.Duration
}

// holdOf finds what keeps a node in its class. If that is an error, the node keeps it, and waits for the pod that was there last.
func (r *ImageCSIDriverReconciler) holdOf(ctx context.Context, driver *v1alpha1.ImageCSIDriver, at *placement.Node,
	volumes func() (volumeIndex, error)) (hold, error) {
	if at.Placed() || at.Current == "" {
		return hold{free: !at.Placed(), by: at.UsedBy, ignored: at.Ignored}, nil
	}
	key := usageKey{driver: driver.UID, generation: driver.Generation, node: at.Name, class: at.Current}
	last, left := r.usage.get(key, r.Clock.Now())
	if left > 0 {
		return hold{by: last[at.Name], ignored: at.Ignored, next: left}, nil
	}
	out, err := r.askHold(ctx, at, volumes)
	if err != nil {
		out.by = cmp.Or(out.by, last[at.Name]) // It may still run.
	}
	if out.free || err != nil {
		return out, err
	}
	r.usage.put(key, map[string]string{at.Name: out.by}, r.Clock.Now(), r.RecheckPeriod)
	out.next = r.RecheckPeriod
	return out, nil
}

// askHold asks the API server what keeps a node in its class.
func (r *ImageCSIDriverReconciler) askHold(ctx context.Context, at *placement.Node, volumes func() (volumeIndex, error)) (hold, error) {
	index, err := volumes()
	if err != nil {
		return hold{by: at.UsedBy, ignored: at.Ignored}, err
	}
	waitedFor, ignored, err := r.usersOn(ctx, at.Name, index)
	by := cmp.Or(at.UsedBy, waitedFor)
	if err != nil {
		return hold{by: by}, err
	}
	if by == "" {
		return hold{free: true, ignored: cmp.Or(at.Ignored, ignored)}, nil
	}
	foreign, err := r.isForeign(ctx, at)
	if foreign {
		return hold{free: true}, nil
	}
	return hold{by: by}, err
}

// labelNode gives a node a class, in the cluster and in what is known of it.
func (r *ImageCSIDriverReconciler) labelNode(ctx context.Context, at *placement.Node, class string) error {
	if err := r.setClass(ctx, at.Node, class); err != nil {
		return err
	}
	at.Current = class
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
func (r *ImageCSIDriverReconciler) unlabel(ctx context.Context, seen *snapshot, out outcome) (outcome, error) {
	plan := placement.PlanOf(seen.cluster, seen.driver.Name)
	selected, err := r.classesOfOthers(ctx, seen.driver.Name)
	if err != nil {
		return out, err
	}
	nodes := slices.Clone(out.fleet.nodes)
	var unneeded []int
	for i := range nodes {
		at := plan.Of(nodes[i].Node)
		if at.Current != "" && at.Wanted == "" && nodes[i].UsedBy == "" && !selected.Has(at.Current) {
			unneeded = append(unneeded, i)
		}
	}
	err = writeNodes(unneeded, func(i int) error { return r.labelNode(ctx, &nodes[i], "") })
	out.fleet.nodes = nodes
	return out, err
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
