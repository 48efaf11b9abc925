package render

import "testing"

func TestTheGuard(t *testing.T) {
	policy, binding := Guard(settings)
	compareGolden(t, "guard", []Object{policy, binding})
}
