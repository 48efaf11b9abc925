package probing

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

// leastKernel is the first Linux that maps the users of a mount (mount_setattr(2)). Newer ones may lack it for the file systems that a
// pod has; that is for the probe to find out, because distributions add it to older kernels.
const leastKernel = "5.12"

// leastRuntime are the first container runtimes that run pods with hostUsers: false (Kubernetes documentation, "User Namespaces").
func leastRuntime() map[string]string {
	return map[string]string{contract.RuntimeContainerd: "2.0", contract.RuntimeCRIO: "1.25"}
}

// Static returns why a node cannot run sandboxes, by what it reports; empty if nothing that it reports speaks against it.
func Static(at placement.Node) v1alpha1.SandboxReason {
	switch {
	case at.Policy == nodeclass.PolicyOwn:
		return v1alpha1.SandboxSELinux
	case IsRuntimeTooOld(at.RuntimeVersion):
		return v1alpha1.SandboxRuntimeTooOld
	case slices.ContainsFunc(at.Status.RuntimeHandlers, runsNoUserNamespaces):
		return v1alpha1.SandboxRuntimeWithoutUserNamespaces
	case isOlder(at.Status.NodeInfo.KernelVersion, leastKernel):
		return v1alpha1.SandboxKernelTooOld
	}
	return ""
}

// runsNoUserNamespaces reports whether a handler is that of pods without a RuntimeClass, and reports that it runs no user namespaces. One
// that says nothing may be older than the question.
func runsNoUserNamespaces(handler corev1.NodeRuntimeHandler) bool {
	return handler.Name == "" && handler.Features != nil && handler.Features.UserNamespaces != nil && !*handler.Features.UserNamespaces
}

// IsRuntimeTooOld reports whether a status.nodeInfo.containerRuntimeVersion is that of a runtime without user namespaces. A version that
// cannot be read is not too old.
func IsRuntimeTooOld(text string) bool {
	runtime, err := nodeclass.ParseRuntimeVersion(text)
	if err != nil {
		return false
	}
	least := leastRuntime()[runtime.Name]
	return least != "" && isOlder(runtime.Version, least)
}

func isOlder(found, least string) bool {
	if len(found) > maxVersion {
		return false
	}
	parsed, err := version.ParseGeneric(found)
	return err == nil && !parsed.AtLeast(version.MustParseGeneric(least))
}

// maxVersion bounds what is read as a version; real ones have less than 40 bytes.
const maxVersion = 128
