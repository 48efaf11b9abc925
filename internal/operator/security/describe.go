package security

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// processFilter is the name of the filter that the process puts on itself.
const processFilter = "Process"

// Describe returns what the node plugins of a class may do, by the security context of their container, as it is in the cluster,
// and by what the process does to itself, as it is told. Access is what they let pods do with volumes.
func Describe(class nodeclass.Class, access v1alpha1.Access, context *corev1.SecurityContext, told contract.Confinement) *v1alpha1.Confinement {
	if context == nil {
		context = &corev1.SecurityContext{}
	}
	out := &v1alpha1.Confinement{Container: v1alpha1.ContainerUnprivileged, Capabilities: keptBy(access, told), SeccompProfiles: []string{processFilter},
		VolumeSELinuxType: cmp.Or(told.VolumeType, contract.VolumeSELinuxType)}
	if ptr.Deref(context.Privileged, false) {
		out.Container = v1alpha1.ContainerPrivileged
		out.Tighter = append(out.Tighter, fmt.Sprintf("mountMode: %s for class %s in spec.nodeClasses runs the node plugin in a container that is not privileged",
			contract.ModeNsenter, class.Name))
	} else {
		describeProfiles(out, class, context)
	}
	if access != v1alpha1.AccessReadOnly {
		out.Tighter = append(out.Tighter, "spec.volumes.access: ReadOnly, if no pod has to write to its volume, takes the capabilities of writable volumes away")
	}
	return out
}

// describeProfiles adds the profiles of a container that is not privileged. Container runtimes ignore those of others.
func describeProfiles(out *v1alpha1.Confinement, class nodeclass.Class, context *corev1.SecurityContext) {
	profile := context.SeccompProfile
	if profile != nil {
		out.SeccompProfiles = append(out.SeccompProfiles, profileName(string(profile.Type), profile.LocalhostProfile))
	}
	if profile == nil || profile.Type != corev1.SeccompProfileTypeLocalhost {
		out.Tighter = append(out.Tighter, "spec.nodePlugin.seccompProfile: Narrow, with the Security Profiles Operator, also filters the system calls of the container's start")
	}
	if profile := context.AppArmorProfile; profile != nil {
		out.AppArmorProfile = profileName(string(profile.Type), profile.LocalhostProfile)
	}
	// Operating systems with an SELinux policy of their own have no AppArmor.
	if out.AppArmorProfile == contract.ProfileUnconfined && class.Policy != nodeclass.PolicyOwn {
		out.Tighter = append(out.Tighter, "confinement.appArmorProfile, on nodes with AppArmor and Linux 6.7 or newer that have the profile of config/apparmor, "+
			"keeps threads that mount from the node's other files")
	}
	if context.SELinuxOptions != nil {
		out.SELinuxType = context.SELinuxOptions.Type
	}
}

// DescribeNetwork adds the network of a pod, as it is in the cluster.
func DescribeNetwork(out *v1alpha1.Confinement, class nodeclass.Class, pod *corev1.PodSpec) {
	if !pod.HostNetwork {
		out.Network = v1alpha1.NetworkPod
		return
	}
	out.Network = v1alpha1.NetworkHost
	out.Tighter = append(out.Tighter, fmt.Sprintf("network: %s for class %s in spec.nodeClasses, if no credential provider needs the network of the node, "+
		"keeps the node plugin from what listens on the node's loopback", v1alpha1.NetworkPod, class.Name))
}

// keptBy returns the names of the capabilities that the process keeps.
func keptBy(access v1alpha1.Access, told contract.Confinement) []string {
	var names []string
	dropped, _ := privileges.ParseDropped(told.Dropped) // A node plugin does not start with a text that cannot be read.
	for _, c := range privileges.Serving(contract.Access(access), dropped...) {
		names = append(names, c.String())
	}
	slices.Sort(names)
	return names
}

func profileName(kind string, localhost *string) string {
	if localhost == nil {
		return kind
	}
	return kind + "/" + *localhost
}
