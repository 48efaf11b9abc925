package security

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// LoosenedPod returns the fields of a pod with which it shares more with its node than a node plugin's pod of a network does.
func LoosenedPod(pod *corev1.PodSpec, network v1alpha1.NodeNetwork) []string {
	var out []string
	for _, namespace := range []struct {
		field  string
		shared bool
	}{{"hostPID", pod.HostPID}, {"hostIPC", pod.HostIPC}, {"hostNetwork", pod.HostNetwork && network != v1alpha1.NetworkHost}} {
		if namespace.shared {
			out = append(out, namespace.field+": true")
		}
	}
	return out
}

// Loosened returns the fields of a security context that confine a node plugin's container less than it is told, or of which that
// cannot be known. Access is what it lets pods do with volumes. A field that confines it more is none of them.
func Loosened(context *corev1.SecurityContext, told contract.Confinement, access v1alpha1.Access) []string {
	context = ptr.To(ptr.Deref(context, corev1.SecurityContext{}))
	var out []string
	loose := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	loose(!ptr.Deref(context.ReadOnlyRootFilesystem, false), "readOnlyRootFilesystem: false")
	loose(ptr.Deref(context.ProcMount, corev1.DefaultProcMount) != corev1.DefaultProcMount, "procMount: Unmasked")
	if !told.Unprivileged {
		return out
	}
	if ptr.Deref(context.Privileged, false) {
		return append(out, "privileged: true") // without any profile
	}
	loose(ptr.Deref(context.AllowPrivilegeEscalation, true), "allowPrivilegeEscalation: true")
	capabilities := ptr.Deref(context.Capabilities, corev1.Capabilities{})
	loose(!slices.Contains(capabilities.Drop, "ALL"), "capabilities.drop without ALL")
	more := strings.Join(beyond(capabilities.Add, access, told), ", ")
	loose(more != "", "capabilities.add: %s", more)
	has := Told(context, v1alpha1.ContainerConfinement{})
	for _, profile := range []struct{ field, has, told string }{{"seccompProfile", has.Seccomp, told.Seccomp}, {"appArmorProfile", has.AppArmor, told.AppArmor}} {
		isAsked := profile.told != "" && profile.told != contract.ProfileUnconfined
		loose(isAsked && profile.has != profile.told, "%s: %s instead of %s", profile.field, orNone(profile.has), profile.told)
	}
	label, asked := seLinuxLabel(has), seLinuxLabel(told)
	isUnconfined := told.SELinuxType == "" || told.SELinuxType == contract.SELinuxUnconfined
	// Without a type, the container runtime chooses one, which is tighter than the unconfined one.
	loose(label != asked && (!isUnconfined || has.SELinuxType != ""), "seLinuxOptions: %s instead of %s", label, asked)
	return out
}

func seLinuxLabel(c contract.Confinement) string {
	return orNone(strings.Trim(c.SELinuxType+":"+c.SELinuxLevel, ":"))
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// beyond returns the capabilities of a list that the container of a node plugin with this text does not have.
func beyond(list []corev1.Capability, access v1alpha1.Access, told contract.Confinement) []string {
	var out []string
	dropped, _ := privileges.ParseDropped(told.Dropped) // A node plugin does not start with a text that cannot be read.
	for _, name := range list {
		is := func(c privileges.Capability) bool { return c.String() == strings.TrimPrefix(string(name), "CAP_") }
		if !slices.ContainsFunc(privileges.Container(contract.Access(access), dropped...), is) {
			out = append(out, string(name))
		}
	}
	return out
}
