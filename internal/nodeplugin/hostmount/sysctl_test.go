package hostmount

import "testing"

func TestTheKernelTellsHowManyMountsItAllows(t *testing.T) {
	limit, err := MountMax()
	if err != nil || limit < 1000 {
		t.Errorf("mount-max is %d, %v", limit, err)
	}
}
