package status

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// ConditionUpgradeable is the type of the condition that the Operator Lifecycle Manager asks before it replaces an
// operator (its documentation, "Operator conditions").
const ConditionUpgradeable = "Upgradeable"

// Upgradeable reports whether the operator may be replaced by another version now. It may not during something that the next
// version would have to finish, because the outcomes of the two changes would mix.
func Upgradeable(drivers []v1alpha1.ImageCSIDriver) metav1.Condition {
	byName := slices.SortedFunc(slices.Values(drivers), func(a, b v1alpha1.ImageCSIDriver) int { return cmp.Compare(a.Name, b.Name) })
	for _, driver := range byName {
		if reason, format := unfinished(driver.Status); reason != "" {
			return condition(ConditionUpgradeable, false, reason, format+" To upgrade all the same, override the condition.", driver.Name)
		}
	}
	return condition(ConditionUpgradeable, true, ReasonAsExpected, "No ImageCSIDriver is in the middle of a change.")
}

// unfinished returns what a driver is in the middle of: a reason, and a sentence with a place for its name. Its message
// has no counts, so that it stays the same from the change's beginning to its end.
func unfinished(status v1alpha1.ImageCSIDriverStatus) (reason, format string) {
	if progressing := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionProgressing); progressing != nil {
		reason = progressing.Reason
		switch reason {
		case ReasonRollingOut:
			return reason, "A change of the node plugin of ImageCSIDriver %s is being rolled out."
		case ReasonRollingBack:
			return reason, "A change of the node plugin of ImageCSIDriver %s failed and is rolling back."
		case ReasonPaused:
			return reason, "A change of the node plugin of ImageCSIDriver %s is held by spec.rollout.state: Paused."
		case string(RemovalWaiting), string(RemovalStopping):
			return reason, "ImageCSIDriver %s is being removed."
		}
	}
	if status.Nodes.Waiting > 0 {
		return string(v1alpha1.ProblemWaiting), "Nodes have to change their class, but wait for pods that use volumes of ImageCSIDriver %s."
	}
	return "", ""
}
