package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// ReasonFieldContested is the reason of the condition Degraded while something else changes what the operator applies.
const ReasonFieldContested = "FieldContested"

// Contest is an object of the driver that is changed from outside again and again.
type Contest struct {
	// Kind and Name of the object.
	Kind, Name string
	// Managers have taken fields from the operator, by the API server's record of field managers; empty if it names none.
	Managers []string
}

// contestedFields is the condition Degraded of a driver whose objects are contested.
func contestedFields(contests []Contest) metav1.Condition {
	first := slices.MinFunc(contests, func(a, b Contest) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	by := "by no other field manager on record: a mutating admission webhook, or a program that deletes it"
	if len(first.Managers) > 0 {
		by = "by " + strings.Join(first.Managers, ", ")
	}
	others := ""
	if more := len(contests) - 1; more > 0 {
		others = fmt.Sprintf(" %d more of the driver's objects are contested.", more)
	}
	return condition(v1alpha1.ConditionDegraded, true, ReasonFieldContested,
		"%s %s is changed again and again %s. The operator repairs it after growing pauses of at most five minutes. Exempt the object there, or set spec.managementState to Unmanaged.%s",
		first.Kind, first.Name, by, others)
}
