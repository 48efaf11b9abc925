package confinement

import (
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

func TestAReportHasWhatTheKernelSaysOfTheThread(t *testing.T) {
	got, err := InContainer(contract.Confinement{}, nil).Report()
	if err != nil || len(got.Capabilities) != 16 || got.Seccomp == "" || got.AppArmor != "" {
		t.Errorf("%+v, %v", got, err)
	}
}
