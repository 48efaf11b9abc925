package security

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Told returns what a node plugin is told of its container's security context, so that it does not serve under less.
func Told(context *corev1.SecurityContext) contract.Confinement {
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
	return told
}
