package status

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

func TestTheOperatorIsUpgradeableWhenNoDriverIsInTheMiddleOfAChange(t *testing.T) {
	quiet := func(name string) v1alpha1.ImageCSIDriver {
		return v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: Of(v1alpha1.ImageCSIDriverStatus{}, observe(ready("a"), phase(v1alpha1.PhaseComplete)), early)}
	}
	for name, test := range map[string]struct {
		seen Observation
		want string
	}{
		"all ready":          {observe(ready("a"), phase(v1alpha1.PhaseComplete)), "True AsExpected"},
		"a node not ready":   {observe(withNode("a"), phase(v1alpha1.PhaseComplete)), "True AsExpected"},
		"canary":             {observe(ready("a"), phase(v1alpha1.PhaseCanary)), "False RollingOut"},
		"half updated":       {observe(ready("a"), phase(v1alpha1.PhaseUpdating)), "False RollingOut"},
		"paused":             {observe(ready("a"), phase(v1alpha1.PhasePaused)), "False Paused"},
		"rolling back":       {observe(ready("a"), rolloutFailed(v1alpha1.PhaseRollingBack)), "False RollingBack"},
		"rolled back":        {observe(ready("a"), rolloutFailed(v1alpha1.PhaseRolledBack)), "True AsExpected"},
		"refused":            {observe(ready("a"), refused), "True AsExpected"},
		"unmanaged":          {observe(ready("a"), managed(v1alpha1.Unmanaged), phase(v1alpha1.PhaseCanary)), "True AsExpected"},
		"a node has to wait": {observe(waiting("a"), phase(v1alpha1.PhaseComplete)), "False WaitingForVolumes"},
		"waiting to leave":   {observe(waiting("a"), removal(RemovalWaiting)), "False WaitingForVolumes"},
		"leaving":            {observe(ready("a"), removal(RemovalStopping)), "False StoppingPlugins"},
		"gone":               {observe(withNode("a"), removal(RemovalDone)), "True AsExpected"},
	} {
		t.Run(name, func(t *testing.T) {
			busy := v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "busy.example.com"}, Status: Of(v1alpha1.ImageCSIDriverStatus{}, test.seen, early)}
			got := Upgradeable([]v1alpha1.ImageCSIDriver{quiet("z"), busy, quiet("a")})
			if is := fmt.Sprintf("%s %s", got.Status, got.Reason); got.Type != "Upgradeable" || is != test.want {
				t.Errorf("%s is %q, want %q", got.Type, is, test.want)
			}
			if named := strings.Contains(got.Message, "busy.example.com"); named != (got.Status == metav1.ConditionFalse) || strings.Contains(got.Message, "%") {
				t.Errorf("message %q", got.Message)
			}
		})
	}
}

func TestTheMessageIsTheSameForAllOfAChange(t *testing.T) {
	driver := func(name, message string) v1alpha1.ImageCSIDriver {
		seen := observe(ready("a"), phase(v1alpha1.PhaseUpdating))
		seen.Rollout.Message = message
		return v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: Of(v1alpha1.ImageCSIDriverStatus{}, seen, early)}
	}
	first := Upgradeable([]v1alpha1.ImageCSIDriver{driver("a", "1 of 3 nodes."), driver("b", "1 of 3 nodes.")})
	second := Upgradeable([]v1alpha1.ImageCSIDriver{driver("b", "2 of 3 nodes."), driver("a", "3 of 3 nodes.")})
	if first != second {
		t.Errorf("%+v, then %+v", first, second)
	}
}

func TestWithoutDriversTheOperatorIsUpgradeable(t *testing.T) {
	if got := Upgradeable(nil); got.Status != metav1.ConditionTrue {
		t.Errorf("%+v", got)
	}
	if got := Upgradeable([]v1alpha1.ImageCSIDriver{{}}); got.Status != metav1.ConditionTrue {
		t.Errorf("a driver that has no status yet: %+v", got)
	}
}
