package security

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// nonRoot is the user of the operator's image.
const nonRoot = 65532

// seLinuxLevel is the level of containers on nodes with SELinux, without categories.
const seLinuxLevel = "s0"

// Context returns the security context of the node plugin's container in a node class, for what pods may do with volumes. The
// seccomp profile is for a class that chooses none; a privileged container has none.
func Context(class nodeclass.Class, access v1alpha1.Access, seccomp *corev1.SeccompProfile) *corev1.SecurityContext {
	if class.MountMode == contract.ModeBidirectional {
		return bidirectional()
	}
	return nsenter(class, access, seccomp)
}

// Unprivileged returns the security context of a container that needs no privilege at all.
func Unprivileged() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		RunAsNonRoot:             ptr.To(true),
		RunAsUser:                ptr.To[int64](nonRoot),
		RunAsGroup:               ptr.To[int64](nonRoot),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           RuntimeDefault(),
	}
}

// RuntimeDefault is the container runtime's own seccomp profile.
func RuntimeDefault() *corev1.SeccompProfile {
	return &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
}

// bidirectional: the API server accepts Bidirectional mount propagation from privileged containers only. Runtimes
// ignore seccomp, AppArmor and SELinux settings of a privileged container, so none are set.
func bidirectional() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		Privileged:             ptr.To(true),
		RunAsUser:              ptr.To[int64](0),
		ReadOnlyRootFilesystem: ptr.To(true),
	}
}

func nsenter(class nodeclass.Class, access v1alpha1.Access, seccomp *corev1.SeccompProfile) *corev1.SecurityContext {
	return &corev1.SecurityContext{
		Privileged:               ptr.To(false),
		AllowPrivilegeEscalation: ptr.To(false),
		RunAsUser:                ptr.To[int64](0),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities: &corev1.Capabilities{
			Drop: []corev1.Capability{"ALL"},
			Add:  capabilities(access, class.Confinement.DropCapabilities),
		},
		SeccompProfile:  seccompOf(class, seccomp),
		AppArmorProfile: appArmor(class),
		SELinuxOptions:  seLinux(class),
	}
}

// capabilities of the container that mounts in the host's mount namespace.
func capabilities(access v1alpha1.Access, dropped []v1alpha1.DroppableCapability) []corev1.Capability {
	var out []corev1.Capability
	for _, c := range privileges.Container(contract.Access(access)) {
		if !slices.Contains(dropped, v1alpha1.DroppableCapability(c.String())) {
			out = append(out, corev1.Capability(c.String()))
		}
	}
	return out
}

// PolicyOf returns whose SELinux policy a container of Context's is made for. A privileged one does not tell.
func PolicyOf(context *corev1.SecurityContext) nodeclass.SELinuxPolicy {
	switch {
	case context == nil || ptr.Deref(context.Privileged, false):
		return nodeclass.PolicyUnknown
	case context.SELinuxOptions == nil:
		return nodeclass.PolicyOwn
	}
	return nodeclass.PolicyCommon
}

func seccompOf(class nodeclass.Class, otherwise *corev1.SeccompProfile) *corev1.SeccompProfile {
	chosen := class.Confinement.SeccompProfile
	if chosen == nil {
		return otherwise
	}
	return &corev1.SeccompProfile{Type: corev1.SeccompProfileType(chosen.Type), LocalhostProfile: nonEmpty(chosen.LocalhostProfile)}
}

// appArmor returns the profile of the container. The runtimes' default profiles deny every mount. Unconfined is the one value
// that a kubelet takes on hosts with and without AppArmor.
func appArmor(class nodeclass.Class) *corev1.AppArmorProfile {
	chosen := class.Confinement.AppArmorProfile
	if chosen == nil {
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	}
	return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileType(chosen.Type), LocalhostProfile: nonEmpty(chosen.LocalhostProfile)}
}

func nonEmpty(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// seLinux returns the label of the container. On an operating system with a policy of its own, the runtime's choice stays.
func seLinux(class nodeclass.Class) *corev1.SELinuxOptions {
	if chosen := class.Confinement.SELinuxOptions; chosen != nil {
		return &corev1.SELinuxOptions{Type: chosen.Type, Level: cmp.Or(chosen.Level, seLinuxLevel)}
	}
	if class.Policy == nodeclass.PolicyOwn {
		return nil
	}
	return &corev1.SELinuxOptions{Type: contract.SELinuxUnconfined, Level: seLinuxLevel}
}
