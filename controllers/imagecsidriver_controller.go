package controllers

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers/nodecache"
	"github.com/image-csi/image-csi-operator/controllers/served"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/ownership"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/rollout"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// FieldOwner owns every field that the operator applies.
const FieldOwner = client.FieldOwner(ownership.Operator)

// recheckVolumes is when to look again whether pods still use volumes. Pods are not watched, because there are too
// many of them. Only nodes and drivers that wait for pods are checked again.
const recheckVolumes = 30 * time.Second

// catchUp is when to look again after a conflict. What was read was older than what the server holds, usually because the
// cache had not seen the operator's own last write yet. That is not an error, and is not reported.
const catchUp = 100 * time.Millisecond

// ownPolicies is how the names of those policies in config/admission start that hold the operator.
const ownPolicies = "image-csi-operator-"

// catchUpTries is how many conflicts in a row are attributed to that. More have another cause, and are reported.
const catchUpTries = 20

// ImageCSIDriverReconciler reconciles ImageCSIDriver objects.
type ImageCSIDriverReconciler struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Direct reads what is not cached: pods and PersistentVolumes.
	Direct client.Reader
	// Recorder writes events.
	Recorder events.EventRecorder
	// Clock is for the times of transitions and for durations. What others wrote is by other clocks.
	Clock clock.PassiveClock
	// Settings of the operator.
	Settings render.Settings
	// Tracer makes a span of every reconcile and of its phases; nil makes none.
	Tracer trace.Tracer
	// RecheckPeriod is how often to check whether pods still use volumes; 0 is half a minute.
	RecheckPeriod time.Duration
	// BatchPeriod is how long changes of nodes and pods are collected before they are looked at together.
	BatchPeriod time.Duration

	nodes    *nodecache.Cache
	kinds    *served.Kinds
	fields   *served.Fields
	policies *served.Policies
	guarding guard
	// sightings of the rollouts under way, by driver. Drivers are reconciled one at a time, so it needs no lock.
	sightings map[string]rollout.Sightings
	// probes of sandboxes that are under way: when they were first seen, by driver and node.
	probes map[string]map[string]time.Time
	// usage of volumes that something waits for.
	usage usageCache
	// conflicts in a row, by driver.
	conflicts map[string]int
	// contests about the drivers' objects.
	contests map[objectKey]*contested
}

var _ reconcile.Reconciler = (*ImageCSIDriverReconciler)(nil)

// +kubebuilder:rbac:groups=storage.imagecsi.dev,resources=imagecsidrivers,verbs=list;watch;patch
// +kubebuilder:rbac:groups=storage.imagecsi.dev,resources=imagecsidrivers/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups="",resources=pods;persistentvolumes,verbs=list
// +kubebuilder:rbac:groups=storage.k8s.io,resources=csinodes,verbs=list;watch
// +kubebuilder:rbac:groups=storage.k8s.io,resources=csidrivers,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=apps,namespace=image-csi-system,resources=daemonsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",namespace=image-csi-system,resources=configmaps;serviceaccounts,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",namespace=image-csi-system,resources=pods,verbs=list;watch;delete
// +kubebuilder:rbac:groups="",namespace=image-csi-system,resources=events,verbs=list;create;patch
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=image-csi-system,resources=leases,verbs=get;create;update

// Reconcile brings the cluster to what one ImageCSIDriver asks for, and its status to what is so.
func (r *ImageCSIDriverReconciler) Reconcile(ctx context.Context, request ctrl.Request) (result ctrl.Result, err error) {
	ctx, span := r.start(ctx, request.Name)
	defer end(span, &err)
	seen, err := r.read(ctx, request.Name)
	if err != nil || seen == nil {
		return ctrl.Result{}, err
	}
	out, err := r.run(ctx, seen, begin(seen), r.phases(seen))
	observed := observation(seen, out, err)
	if !r.lags(request.Name, err) {
		err = errors.Join(err, r.report(ctx, observed))
	}
	_, untilStarted := status.Starting(observed.Driver.Status.Conditions, observed, r.Clock.Now())
	out.wait(untilStarted)
	out.wait(r.guard(ctx, seen, out))
	return r.again(request.Name, out.requeue, err)
}

// phases returns what a driver's state asks for, in order.
func (r *ImageCSIDriverReconciler) phases(seen *snapshot) []phase {
	switch {
	case conflicts.Gone(seen.driver) && len(seen.objects) == 0:
		return []phase{{name: "remove", do: r.reportGone}}
	case conflicts.Leaving(seen.driver):
		return []phase{{name: "remove", do: r.remove}}
	case seen.driver.Spec.ManagementState == v1alpha1.Unmanaged, seen.refusal != nil:
		return nil
	default:
		return []phase{
			{name: "finalizer", do: r.addFinalizer, needed: true},
			{name: "label", do: r.label},
			{name: "rollout", do: r.planRollout},
			{name: "apply", do: r.apply},
			{name: "replace", do: r.replace},
			{name: "untaint", do: r.untaint},
			{name: "probe sandboxes", do: r.probeSandboxes},
		}
	}
}

// again returns when to reconcile a driver again: as planned, soon if the cache only lags behind, or after a growing backoff.
func (r *ImageCSIDriverReconciler) again(driver string, planned time.Duration, err error) (ctrl.Result, error) {
	switch {
	case err == nil:
		delete(r.conflicts, driver)
		return ctrl.Result{RequeueAfter: planned}, nil
	case r.lags(driver, err):
		r.conflicts[driver]++
		return ctrl.Result{RequeueAfter: catchUp}, nil
	}
	return ctrl.Result{}, err
}

// lags reports whether an error may come from a cache that lags behind: it is a conflict, or a refusal by a policy with the
// driver as its parameter, which the API server reads from a cache of its own.
func (r *ImageCSIDriverReconciler) lags(driver string, err error) bool {
	return (apierrors.IsConflict(err) || isRefusedByPolicy(err)) && r.conflicts[driver] < catchUpTries
}

// isRefusedByPolicy reports whether an error is that of a policy of the installation about what the operator does.
func isRefusedByPolicy(err error) bool {
	return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+ownPolicies)
}
