package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Headline returns the condition that a person should read first; nil if the operator has not reported.
func (s *ImageCSIDriverStatus) Headline() *metav1.Condition {
	available := meta.FindStatusCondition(s.Conditions, ConditionAvailable)
	progressing := meta.FindStatusCondition(s.Conditions, ConditionProgressing)
	degraded := meta.FindStatusCondition(s.Conditions, ConditionDegraded)
	is := func(c *metav1.Condition, status metav1.ConditionStatus) bool { return c != nil && c.Status == status }
	switch {
	case is(degraded, metav1.ConditionTrue):
		return degraded
	case is(progressing, metav1.ConditionTrue), is(progressing, metav1.ConditionFalse) && progressing.Reason == string(Unmanaged):
		return progressing
	default:
		return available
	}
}
