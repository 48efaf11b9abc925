package controllers

import (
	"context"
	"errors"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/recheck"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/rollout"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
	"github.com/image-csi/image-csi-operator/internal/operator/settled"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// snapshot is what one reconcile saw of the cluster before it did anything. read makes it, and after that it does not change.
type snapshot struct {
	// driver as it was read.
	driver *v1alpha1.ImageCSIDriver
	// names are the CSI driver names that it serves, its own first: those of its spec, and those that the spec has dropped while
	// pods still use volumes by them.
	names []string
	// refusal is why the driver is not reconciled; nil if it is.
	refusal *conflicts.Refusal
	// table describes the node classes, and plan gives the nodes theirs.
	table nodeclass.Table
	plan  placement.Plan
	// cluster has all that a driver may conflict with, and csiDrivers the CSIDriver objects of the cluster.
	cluster    conflicts.Cluster
	csiDrivers []storagev1.CSIDriver
	// objects of the driver, of all kinds, and the DaemonSets of node plugins among them.
	objects    []render.Object
	daemonSets []appsv1.DaemonSet
	// kinds are the optional ones that the cluster has, unclear those for which that is not known yet, and kindsPending is when
	// to look again for these, or 0.
	kinds, unclear []render.OptionalKind
	kindsPending   time.Duration
	// policies are the cluster's admission policies, and policiesPending is when to look again for them if they are not known
	// yet, or 0.
	policies        status.Policies
	policiesPending time.Duration
	// fleet has the nodes and the driver's pods.
	fleet fleet
	// recheck is when to look again whether pods still use a name that the spec has dropped, or 0.
	recheck time.Duration
}

// fleet has the nodes of the cluster and the driver's pods on them. Its slices are shared and must not be changed in place.
type fleet struct {
	// nodes, except for the settled ones.
	nodes []placement.Node
	// settled counts the settled nodes, whose pods are not among pods.
	settled settled.Counts
	pods    []corev1.Pod
	// probes are the driver's pods that try sandboxes.
	probes []corev1.Pod
}

// outcome is what a reconcile has found out and done so far. A phase gets it from the phase before and returns its own.
type outcome struct {
	// driver as the server has it after the operator's latest write.
	driver *v1alpha1.ImageCSIDriver
	// fleet as it is now: with the classes that were written, and with the pods for which nodes wait.
	fleet fleet
	// daemonSets as the server has them now.
	daemonSets []appsv1.DaemonSet
	// changes are what the rollout has decided; nil if it has decided nothing. incomplete is set if something that a node plugin's
	// pod needs could not be applied, so that no pod may be replaced.
	changes    *changes
	incomplete bool
	// absent, seccomp and costs are for the status, and so is rollout, which is nil if nothing may roll out.
	rollout *v1alpha1.RolloutStatus
	stopped string
	absent  []rollout.Absent
	seccomp security.Seccomp
	costs   []render.ServedField
	// probed are the classes of nodes on which a probe of sandboxes has come to an end.
	probed sets.Set[string]
	// contests are about objects that are changed from outside again and again.
	contests []status.Contest
	// removal is the stage of a removal, and lingering what keeps it from its end.
	removal   status.Removal
	lingering status.Lingering
	// usersKnown is set when it is known of every node whether a pod uses a volume of the driver.
	usersKnown bool
	// released is set when the driver's finalizer was dropped.
	released bool
	// requeue is when to reconcile again; 0 if time alone changes nothing.
	requeue time.Duration
	// done ends the reconcile: the phases that follow have to wait for something.
	done bool
}

// begin returns the outcome of a reconcile that has done nothing yet.
func begin(seen *snapshot) outcome {
	return outcome{driver: seen.driver, fleet: seen.fleet, daemonSets: seen.daemonSets, requeue: recheck.Sooner(seen.recheck, seen.policiesPending)}
}

// wait has the driver reconciled again after a time, or sooner; 0 changes nothing.
func (o *outcome) wait(after time.Duration) { o.requeue = recheck.Sooner(o.requeue, after) }

// observation returns what the status is made from.
func observation(seen *snapshot, out outcome, err error) status.Observation {
	return status.Observation{
		Driver: out.driver, Names: seen.names, Refusal: seen.refusal, Removal: out.removal, Nodes: out.fleet.nodes, Settled: out.fleet.settled,
		Table: seen.table, DaemonSets: out.daemonSets, Pods: out.fleet.pods, Lingering: out.lingering, Costs: out.costs,
		Contests: out.contests, Rollout: out.rollout, Stopped: out.stopped, Absent: out.absent, Seccomp: out.seccomp, Probed: out.probed,
		Policies: seen.policies, Err: err,
	}
}

// phase is a step of a reconcile, and a span of its trace.
type phase struct {
	name string
	do   func(context.Context, *snapshot, outcome) (outcome, error)
	// needed is set if nothing after the phase may be done when it fails.
	needed bool
}

// run does one phase after the other. A phase that fails stops the others only if it is needed.
func (r *ImageCSIDriverReconciler) run(ctx context.Context, seen *snapshot, out outcome, phases []phase) (outcome, error) {
	var failures []error
	for _, p := range phases {
		var err error
		out, err = r.runPhase(ctx, seen, out, p)
		failures = append(failures, err)
		if out.done || (err != nil && p.needed) {
			break
		}
	}
	return out, errors.Join(failures...)
}

// runPhase does a phase in its span.
func (r *ImageCSIDriverReconciler) runPhase(ctx context.Context, seen *snapshot, out outcome, p phase) (next outcome, err error) {
	ctx, span := r.span(ctx, p.name)
	defer end(span, &err)
	return p.do(ctx, seen, out)
}
