package security

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Told returns what a node plugin is told of its container's security context, so that it does not serve under less, and of what else an
// administrator has chosen.
func Told(context *corev1.SecurityContext, chosen v1alpha1.ContainerConfinement) contract.Confinement {
	if context == nil || ptr.Deref(context.Privileged, false) {
		return contract.Confinement{} // Container runtimes give a privileged container no profile.
	}
	told := contract.Confinement{Unprivileged: true}
	if profile := context.SeccompProfile; profile != nil {
		told.Seccomp = profileName(string(profile.Type), profile.LocalhostProfile)
	}
	if profile := context.AppArmorProfile; profile != nil {
		told.AppArmor = profileName(string(profile.Type), profile.LocalhostProfile)
	}
	if label := context.SELinuxOptions; label != nil {
		told.SELinuxType, told.SELinuxLevel = label.Type, label.Level
	}
	var dropped []string
	for _, name := range chosen.DropCapabilities {
		dropped = append(dropped, string(name))
	}
	told.Dropped = strings.Join(slices.Sorted(slices.Values(dropped)), ",")
	if label := chosen.VolumeSELinuxOptions; label != nil {
		told.VolumeType, told.VolumeLevel = label.Type, cmp.Or(label.Level, contract.VolumeSELinuxLevel)
	}
	return told
}
