package nodeclass

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// The oldest runtimes that serve version v1 of the container runtime interface (CRI), by which the node plugin pulls.
// Containerd's image store has had what the node plugin needs for longer, and so has CRI-O's.
const (
	MinContainerd = "1.6"
	MinCRIO       = "1.21"
)

// Unsupported is why a node cannot serve the driver, in words for the cluster's administrator.
type Unsupported struct {
	// Reason is the kind of obstacle.
	Reason v1alpha1.ProblemReason
	// Message describes what was found.
	Message string
	// Remedy is what the administrator can do.
	Remedy string
}

// Error returns the message and the remedy.
func (u *Unsupported) Error() string { return u.Message + ". " + u.Remedy }

// supportedRuntime returns the node's runtime, with an *Unsupported or an *Unknown.
func supportedRuntime(node *corev1.Node) (RuntimeVersion, error) {
	if err := virtual(node); err != nil {
		return RuntimeVersion{}, err
	}
	info := node.Status.NodeInfo
	if info.OperatingSystem != "" && !strings.EqualFold(info.OperatingSystem, string(corev1.Linux)) {
		return RuntimeVersion{}, &Unsupported{
			Reason:  v1alpha1.ProblemOSUnsupported,
			Message: fmt.Sprintf("The node runs the operating system %s; images can be mounted on Linux nodes only", quoted(info.OperatingSystem)),
			Remedy:  "Leave such nodes out with spec.nodePlugin.nodeSelector, for example kubernetes.io/os: linux.",
		}
	}
	runtime, err := ParseRuntimeVersion(info.ContainerRuntimeVersion)
	if err != nil {
		return RuntimeVersion{}, &Unknown{
			Message: fmt.Sprintf("The node's status tells no container runtime (containerRuntimeVersion is %s)", quoted(info.ContainerRuntimeVersion)),
			remedy:  "If the node is real, check its kubelet; leave a virtual node out with the label " + contract.ExcludeLabel + ".",
		}
	}
	switch runtime.Name {
	case contract.RuntimeContainerd:
		return runtime, old(runtime, "containerd", MinContainerd)
	case contract.RuntimeCRIO:
		return runtime, old(runtime, "CRI-O", MinCRIO)
	}
	return runtime, nil
}

// old returns an *Unsupported for a runtime that is older than the least version, and an *Unknown for one that does not report
// its version.
func old(runtime RuntimeVersion, name, least string) error {
	found, err := version.ParseGeneric(runtime.Version)
	// A build without a version reports 0.0.0+unknown.
	if err != nil || (found.Major() == 0 && found.Minor() == 0) {
		return &Unknown{
			Message: fmt.Sprintf("The node's %s does not tell its version (it says %s): it does not answer the kubelet, or is no release", name, quoted(runtime.Version)),
			remedy:  fmt.Sprintf("If it does not answer, restart it; else use a released %s, version %s or later.", name, least),
		}
	}
	if !found.AtLeast(version.MustParseGeneric(least)) {
		return &Unsupported{
			Reason:  v1alpha1.ProblemRuntimeTooOld,
			Message: fmt.Sprintf("The node has %s %s; the first version that serves version v1 of the container runtime interface is %s", name, runtime.Version, least),
			Remedy:  fmt.Sprintf("Upgrade %s on the node to %s or later.", name, least),
		}
	}
	return nil
}

// unmatched returns the *Unsupported of a node that no class matches.
func unmatched(runtime RuntimeVersion) error {
	unsupported := &Unsupported{
		Reason:  v1alpha1.ProblemRuntimeUnsupported,
		Message: fmt.Sprintf("The node's container runtime is %s", runtime.Name),
		Remedy:  "Move the node to containerd or CRI-O.",
	}
	switch runtime.Name {
	case contract.RuntimeContainerd, contract.RuntimeCRIO:
		unsupported.Message += ", but no node class matches the node"
		unsupported.Remedy = "Widen the match of a class in spec.nodeClasses or add one."
	case "docker":
		unsupported.Message += ", whose image store cannot be shared with volumes"
	default:
		unsupported.Message += ", which is not supported"
	}
	return unsupported
}

// quoted shows a node's text in a message without letting it grow.
func quoted(text string) string {
	const most = 64
	if len(text) > most {
		text = text[:most]
	}
	return fmt.Sprintf("%q", text)
}
