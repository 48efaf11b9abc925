package provisioning

import "testing"

// Without a driver there is nothing to look for, and listing every volume of the cluster would be a waste.
func TestWithoutADriverNothingIsAskedAboutVolumes(t *testing.T) {
	empty := &Reconciler{} // has no client to ask with
	if wanted, err := empty.wanted(t.Context(), nil); wanted || err != nil {
		t.Errorf("wanted %v, error %v", wanted, err)
	}
}
