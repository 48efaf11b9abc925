package security

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

func context(name string, mode v1alpha1.MountMode) *corev1.SecurityContext {
	class, _ := nodeclass.NewTable(nil).Lookup(name)
	class.MountMode = mode
	return Context(class)
}

func TestNsenterIsNotPrivileged(t *testing.T) {
	got := context(nodeclass.Containerd, contract.ModeNsenter)
	if *got.Privileged || *got.AllowPrivilegeEscalation || !*got.ReadOnlyRootFilesystem {
		t.Errorf("privileged %v, escalation %v, read-only root %v", *got.Privileged, *got.AllowPrivilegeEscalation, *got.ReadOnlyRootFilesystem)
	}
	if !slices.Equal(got.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(got.Capabilities.Add) != 9 {
		t.Errorf("capabilities %+v", got.Capabilities)
	}
	if slices.Contains(got.Capabilities.Add, "CAP_SYS_ADMIN") {
		t.Error("the API server refuses CAP_SYS_ADMIN in that spelling next to allowPrivilegeEscalation: false")
	}
}

func TestOnlyBidirectionalIsPrivileged(t *testing.T) {
	got := context(nodeclass.CRIO, contract.ModeBidirectional)
	if !*got.Privileged || got.AllowPrivilegeEscalation != nil || got.Capabilities != nil {
		t.Errorf("context %+v", got)
	}
}

func TestSystemsWithAPolicyOfTheirOwnKeepTheirLabel(t *testing.T) {
	for _, name := range []string{nodeclass.Bottlerocket, nodeclass.Talos} {
		if got := context(name, contract.ModeNsenter); got.SELinuxOptions != nil {
			t.Errorf("%s: SELinux options %+v", name, got.SELinuxOptions)
		}
	}
	if got := context(nodeclass.K3s, contract.ModeNsenter); got.SELinuxOptions == nil || got.SELinuxOptions.Type != "spc_t" {
		t.Errorf("SELinux options %+v", got.SELinuxOptions)
	}
}
