package probing

import "github.com/image-csi/image-csi-operator/api/v1alpha1"

// Message returns the cause of a refusal, and what to do.
func Message(reason v1alpha1.SandboxReason) string {
	const later = " It is tried again every half hour, and at once when the node's label imagecsi.dev/sandbox-probe is removed."
	const again = " Then remove the node's label imagecsi.dev/sandbox-probe, so that it is tried again."
	switch reason {
	case v1alpha1.SandboxSELinux:
		return "The SELinux policy of the node's operating system has no type for containers that make sandboxes. Run such pods on nodes of another operating system."
	case v1alpha1.SandboxRuntimeTooOld:
		return "The container runtime runs no pods with users of their own. Update containerd to 2.0 or newer, CRI-O to 1.25 or newer."
	case v1alpha1.SandboxRuntimeWithoutUserNamespaces:
		return "The container runtime reports that it runs no pods with users of their own (status.runtimeHandlers[].features.userNamespaces). Update runc to 1.2 or crun to 1.9, and restart the container runtime."
	case v1alpha1.SandboxKernelTooOld:
		return "The kernel maps no users of mounts. Update it to Linux 6.3 or newer."
	case v1alpha1.SandboxNotStarted:
		return "The probe's pod did not run within three minutes. Its events say why (kubectl get events, in the namespace of the node plugins). Frequent causes: sysctl user.max_user_namespaces is 0, Linux is older than 6.3, or runc older than 1.2." + later
	case v1alpha1.SandboxUserNamespacesForbidden:
		return "A container may make no user namespaces, although its seccomp profile allows it. Look for sysctl kernel.unprivileged_userns_clone = 0, or a security module." + again
	case v1alpha1.SandboxUserNamespaceLimit:
		return "The node has no room for one more user namespace. Raise sysctl user.max_user_namespaces." + again
	case v1alpha1.SandboxAppArmorRestriction:
		return "AppArmor takes the capabilities from the user namespaces of unprivileged processes. Set sysctl kernel.apparmor_restrict_unprivileged_userns to 0." + again
	case v1alpha1.SandboxProcMasked:
		return "The container's /proc is masked although its pod says procMount: Unmasked. Update the kubelet and the container runtime." + again
	case v1alpha1.SandboxNotIsolated:
		return "A sandbox was made and did not hold: its program saw or changed what it must not. Do not run sandboxes there; the operator's log has what it was."
	case v1alpha1.SandboxNotConfined:
		return "The container runtime did not confine the container as its pod asks, by seccomp, capabilities and no_new_privs. The operator's log has what was missing." + again
	case v1alpha1.SandboxUnreadable:
		return "The probe's pod ended without a result that the operator knows. An image in spec.nodePlugin.image of another release is a cause." + later
	}
	return "A step of making a sandbox failed. The operator's log has which, and why." + again
}
