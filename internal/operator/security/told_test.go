package security

import (
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

func TestANodePluginIsToldWhatItsContainerShouldRunUnder(t *testing.T) {
	for name, want := range map[string]string{
		nodeclass.Containerd:   "container=Unprivileged;seccomp=RuntimeDefault;appArmor=Unconfined;seLinuxType=spc_t;seLinuxLevel=s0",
		nodeclass.Bottlerocket: "container=Unprivileged;seccomp=RuntimeDefault;appArmor=Unconfined",
	} {
		if got := Told(context(name, contract.ModeNsenter)).String(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got := Told(context(nodeclass.CRIO, contract.ModeBidirectional)); got != (contract.Confinement{}) {
		t.Errorf("a privileged container: %s", got)
	}
	if got := Told(nil); got != (contract.Confinement{}) {
		t.Errorf("no security context: %s", got)
	}
}
