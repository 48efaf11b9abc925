package status

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

// The first container runtimes that run pods with hostUsers: false (Kubernetes documentation, "User Namespaces").
const (
	sandboxContainerd = "2.0"
	sandboxCRIO       = "1.25"
)

// classSandboxes returns whether pods on the nodes of a class can make sandboxes; nil if the driver does not ask for it. Profile is the
// one that the class's node plugins keep.
func classSandboxes(seen Observation, class v1alpha1.NodeClassStatus, profile string) *v1alpha1.ClassSandboxes {
	if seen.Driver.Spec.NestedSandboxes == nil || class.DaemonSet == "" {
		return nil
	}
	if why := noSandboxes(seen.Table, class); why != "" {
		return &v1alpha1.ClassSandboxes{State: v1alpha1.SandboxesUnsupported, Message: why}
	}
	complete := seen.Rollout != nil && seen.Rollout.Phase == v1alpha1.PhaseComplete && class.Updated >= class.Nodes
	if profile != sandbox.Name() || !complete {
		return &v1alpha1.ClassSandboxes{State: v1alpha1.SandboxesPreparing,
			Message: fmt.Sprintf("Seccomp profile %s comes to the nodes with their node plugins; status.rollout has the progress.", sandbox.Name())}
	}
	return &v1alpha1.ClassSandboxes{State: v1alpha1.SandboxesPrepared}
}

// noSandboxes returns why nodes of a class cannot run pods that make sandboxes, and what to do; empty if nothing is known against it.
func noSandboxes(table nodeclass.Table, status v1alpha1.NodeClassStatus) string {
	class, _ := table.Lookup(status.Name)
	if class.Policy == nodeclass.PolicyOwn || status.Name == nodeclass.OpenShift {
		return "Nodes of this class have SELinux, where image volumes for pods with users of their own (form: IDMappable) are refused. Run such pods on nodes of another class."
	}
	for _, text := range status.RuntimeVersions {
		runtime, err := nodeclass.ParseRuntimeVersion(text)
		if err != nil {
			continue
		}
		least := map[string]string{contract.RuntimeContainerd: sandboxContainerd, contract.RuntimeCRIO: sandboxCRIO}[runtime.Name]
		found, err := version.ParseGeneric(runtime.Version)
		if err == nil && least != "" && !found.AtLeast(version.MustParseGeneric(least)) {
			return fmt.Sprintf("Nodes of this class run %s %s, which runs no pods with users of their own. Update it to %s or newer.", runtime.Name, Shorten(runtime.Version, 64), least)
		}
	}
	return ""
}

// sandboxes returns what pods that make sandboxes need, once it is on every node that can run them, and until the next profile is.
func sandboxes(previous *v1alpha1.NestedSandboxesStatus, seen Observation, classes []v1alpha1.NodeClassStatus) *v1alpha1.NestedSandboxesStatus {
	if seen.Driver.Spec.NestedSandboxes == nil {
		return nil
	}
	prepared := 0
	for _, class := range classes {
		switch {
		case class.NestedSandboxes == nil || class.NestedSandboxes.State == v1alpha1.SandboxesUnsupported:
		case class.NestedSandboxes.State == v1alpha1.SandboxesPreparing:
			return previous
		default:
			prepared++
		}
	}
	if prepared == 0 {
		return previous
	}
	return &v1alpha1.NestedSandboxesStatus{SeccompProfile: sandbox.Name()}
}
