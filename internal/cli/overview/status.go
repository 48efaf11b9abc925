package overview

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// Status sums up the drivers; all of them, unless one is named.
func Status(cluster seen.Cluster, name string, now time.Time) document.Status {
	var drivers []document.DriverStatus
	for i := range cluster.Drivers {
		if d := &cluster.Drivers[i]; name == "" || slices.Contains(seen.NamesOf(d), name) {
			drivers = append(drivers, driverStatus(d, now))
		}
	}
	message := ""
	switch {
	case len(drivers) > 0 || cluster.Missed(seen.Drivers) == seen.Forbidden:
	case cluster.Missed(seen.Drivers) == seen.NotServed:
		message = "The operator is not installed: this cluster has no ImageCSIDrivers. See docs/install/README.md."
	case name != "":
		message = "There is no ImageCSIDriver with the name or alias " + name + "."
	default:
		message = "The operator is installed and has no driver yet: apply an ImageCSIDriver. See README.md#use-it."
	}
	return document.NewStatus(message, drivers, cluster.Unread)
}

func driverStatus(d *v1alpha1.ImageCSIDriver, now time.Time) document.DriverStatus {
	s := d.Status
	out := document.DriverStatus{
		Name: d.Name, Aliases: seen.NamesOf(d)[1:], Nodes: s.Nodes, Rollout: s.Rollout, NodeClasses: s.NodeClasses,
		Unsupported: s.Unsupported, Problems: s.Problems,
	}
	if out.NodeClasses == nil {
		out.NodeClasses = []v1alpha1.NodeClassStatus{}
	}
	state, condition := worst(d)
	out.State, out.Reason, out.Message = state, condition.Reason, condition.Message
	if !condition.LastTransitionTime.IsZero() {
		out.For = duration.HumanDuration(now.Sub(condition.LastTransitionTime.Time))
	}
	return out
}

// worst returns the condition that the reader should see first, and what it makes of the driver.
func worst(d *v1alpha1.ImageCSIDriver) (document.DriverState, metav1.Condition) {
	first := d.Status.Headline()
	switch {
	case first == nil:
		return document.DriverUnknown, metav1.Condition{Message: "the operator has not reported yet; kubectl -n image-csi-operator get pods shows whether it runs"}
	case first.Type == v1alpha1.ConditionDegraded:
		return document.DriverDegraded, *first
	case first.Type == v1alpha1.ConditionProgressing && first.Status == metav1.ConditionFalse:
		return document.DriverUnmanaged, *first
	case d.Generation > d.Status.ObservedGeneration:
		return document.DriverProgressing, metav1.Condition{Message: "the operator has not applied the latest change of the spec yet"}
	case first.Type == v1alpha1.ConditionProgressing:
		return document.DriverProgressing, *first
	case first.Status == metav1.ConditionFalse && first.Reason != "Removed":
		return document.DriverUnavailable, *first
	default:
		return document.DriverAvailable, *first
	}
}
