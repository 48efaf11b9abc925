package security

import (
	"testing"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// none is the choice of an administrator who leaves everything to the operator.
var none = v1alpha1.ContainerConfinement{}

func TestANodePluginIsToldWhatItsContainerShouldRunUnder(t *testing.T) {
	for name, want := range map[string]string{
		nodeclass.Containerd:   "container=Unprivileged;seccomp=RuntimeDefault;appArmor=Unconfined;seLinuxType=spc_t;seLinuxLevel=s0",
		nodeclass.Bottlerocket: "container=Unprivileged;seccomp=RuntimeDefault;appArmor=Unconfined",
	} {
		if got := Told(context(name, contract.ModeNsenter), none).String(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	chosen := v1alpha1.ContainerConfinement{DropCapabilities: []v1alpha1.DroppableCapability{"MKNOD", "FSETID"},
		VolumeSELinuxOptions: &v1alpha1.VolumeSELinuxOptions{Type: "own_t"}}
	const want = "container=Unprivileged;seccomp=RuntimeDefault;appArmor=Unconfined;dropped=FSETID,MKNOD;volumeType=own_t;volumeLevel=s0"
	if got := Told(context(nodeclass.Talos, contract.ModeNsenter), chosen).String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := Told(context(nodeclass.CRIO, contract.ModeBidirectional), none); got != (contract.Confinement{}) {
		t.Errorf("a privileged container: %s", got)
	}
	if got := Told(nil, none); got != (contract.Confinement{}) {
		t.Errorf("no security context: %s", got)
	}
}
