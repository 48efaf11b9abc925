package v1alpha1

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTheWorstConditionIsReadFirst(t *testing.T) {
	const yes, no = metav1.ConditionTrue, metav1.ConditionFalse
	for _, test := range []struct {
		available, progressing, degraded metav1.ConditionStatus
		reason                           string // of Progressing
		want                             string
	}{
		{yes, no, no, "Complete", ConditionAvailable},
		{no, no, no, "Complete", ConditionAvailable},
		{yes, yes, no, "Updating", ConditionProgressing},
		{no, yes, no, "Updating", ConditionProgressing},
		{yes, no, no, "Unmanaged", ConditionProgressing},
		{yes, no, yes, "RolloutFailed", ConditionDegraded},
		{no, yes, yes, "Updating", ConditionDegraded},
		{no, no, yes, "Unmanaged", ConditionDegraded},
	} {
		status := ImageCSIDriverStatus{Conditions: []metav1.Condition{
			{Type: ConditionAvailable, Status: test.available}, {Type: ConditionProgressing, Status: test.progressing, Reason: test.reason},
			{Type: ConditionDegraded, Status: test.degraded},
		}}
		if got := status.Headline(); got == nil || got.Type != test.want {
			t.Errorf("%+v: %+v", test, got)
		}
	}
	if got := (&ImageCSIDriverStatus{}).Headline(); got != nil {
		t.Errorf("without a report: %+v", got)
	}
}
