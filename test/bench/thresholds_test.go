package bench

import "testing"

func TestAFigureMissesItsThresholdOnTheWrongSideOnly(t *testing.T) {
	one := 1.0
	most, least := threshold{Most: &one}, threshold{Least: &one}
	for _, c := range []struct {
		threshold threshold
		value     float64
		met       bool
	}{{most, 1, true}, {most, 1.01, false}, {most, 0, true}, {least, 1, true}, {least, 0.99, false}, {least, 2, true}} {
		if got := c.threshold.met(c.value); got != c.met {
			t.Errorf("%g %s: %v", c.value, c.threshold, got)
		}
	}
}
