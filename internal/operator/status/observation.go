package status

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/rollout"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
	"github.com/image-csi/image-csi-operator/internal/operator/settled"
)

// Observation is what one reconcile saw of a driver in the cluster.
type Observation struct {
	// Driver as it was read.
	Driver *v1alpha1.ImageCSIDriver
	// Names are the CSI driver names it serves, its own first.
	Names []string
	// Refusal is why the driver is not reconciled; nil if it is.
	Refusal *conflicts.Refusal
	// Removal is the stage of a removal; empty while the driver stays.
	Removal Removal
	// Nodes of the cluster, except for the settled ones.
	Nodes []placement.Node
	// Settled are the numbers of the settled nodes, whose pods are not among Pods.
	Settled settled.Counts
	// Table describes the node classes.
	Table nodeclass.Table
	// DaemonSets of the driver.
	DaemonSets []appsv1.DaemonSet
	// Pods of the driver's DaemonSets.
	Pods []corev1.Pod
	// Lingering are the node plugins that keep a removal from its end.
	Lingering Lingering
	// Costs are fields that the driver asks for and goes without, because the API server does not know them.
	Costs []render.ServedField
	// Contests are about objects that are changed from outside again and again.
	Contests []Contest
	// Rollout of the latest change; nil if the driver's state lets nothing roll out.
	Rollout *v1alpha1.RolloutStatus
	// Stopped is why a rollback cannot go on; empty if it can.
	Stopped string
	// Absent are nodes for which no node plugin's pod can be created.
	Absent []rollout.Absent
	// Seccomp is the node plugin's own seccomp profile; without a name if none is asked for.
	Seccomp security.Seccomp
	// Probed are the classes of nodes on which a probe of sandboxes has come to an end.
	Probed sets.Set[string]
	// Policies are the cluster's admission policies.
	Policies Policies
	// Err is why the operator could not apply the spec; nil if it could.
	Err error
}

// isLost reports whether the reconcile failed before it found the state of a rollout or removal.
func (o *Observation) isLost() bool { return o.Err != nil && o.Rollout == nil && o.Removal == "" }

// keeps reports whether the reconcile failed before it found more than the status has: the state of a rollout, or what a
// waiting removal still waits for.
func (o *Observation) keeps(before *metav1.Condition, now metav1.Condition) bool {
	return before != nil && (o.isLost() || (o.Err != nil && o.Removal == RemovalWaiting && before.Reason == now.Reason))
}

// left reports whether the driver, which is being removed, has left a node already.
func (o *Observation) left(node placement.Node) bool { return o.Removal != "" && node.Current == "" }

// Removal is a stage of the removal of a driver.
type Removal string

// The stages, in their order.
const (
	RemovalWaiting  Removal = "WaitingForVolumes" // pods still use volumes
	RemovalStopping Removal = "StoppingPlugins"   // the node plugins are ending
	RemovalDone     Removal = "Removed"           // nothing is left
)
