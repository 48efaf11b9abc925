package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/probing"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

// classSandboxes returns whether pods on the nodes of a class can make sandboxes; nil if the driver does not ask for it. Profile is the
// one that the class's node plugins keep, and before what the status said.
func classSandboxes(before *v1alpha1.ClassSandboxes, seen Observation, class v1alpha1.NodeClassStatus, profile string, now metav1.Time) *v1alpha1.ClassSandboxes {
	if seen.Driver.Spec.NestedSandboxes == nil || class.DaemonSet == "" {
		return nil
	}
	if why := noSandboxes(seen.Table, class); why != "" {
		return &v1alpha1.ClassSandboxes{State: v1alpha1.SandboxesUnsupported, Message: why}
	}
	out := tried(before, seen, class.Name, now)
	complete := seen.Rollout != nil && seen.Rollout.Phase == v1alpha1.PhaseComplete && class.Updated >= class.Nodes
	switch {
	case profile != sandbox.Name() || !complete:
		out.State = v1alpha1.SandboxesPreparing
		out.Message = fmt.Sprintf("Seccomp profile %s comes to the nodes with their node plugins; status.rollout has the progress.", sandbox.Name())
	case out.Proven > 0 && out.Proven >= class.Nodes:
		out.State = v1alpha1.SandboxesProven
	default:
		out.State = v1alpha1.SandboxesPrepared
	}
	return out
}

// tried counts what became of sandboxes on the nodes of a class. Settled nodes of a driver that asks for sandboxes are proven.
func tried(before *v1alpha1.ClassSandboxes, seen Observation, class string, now metav1.Time) *v1alpha1.ClassSandboxes {
	out := &v1alpha1.ClassSandboxes{Proven: seen.Settled.In(class)}
	probed := out.Proven > 0
	refusals := map[v1alpha1.SandboxReason]*v1alpha1.SandboxRefusal{}
	for _, node := range seen.Nodes {
		if node.Current != class {
			continue
		}
		state := probing.Of(node)
		probed = probed || state.Probed
		switch {
		case state.Proven:
			out.Proven++
		case state.Refused != "":
			of := refusals[state.Refused]
			if of == nil {
				of = &v1alpha1.SandboxRefusal{Reason: state.Refused, Node: node.Name, Message: probing.Message(state.Refused)}
				refusals[state.Refused] = of
			}
			of.Nodes++
			of.Node = min(of.Node, node.Name)
		}
	}
	for _, refusal := range refusals {
		out.Refusals = append(out.Refusals, *refusal)
	}
	slices.SortFunc(out.Refusals, func(a, b v1alpha1.SandboxRefusal) int {
		return cmp.Or(cmp.Compare(b.Nodes, a.Nodes), cmp.Compare(a.Reason, b.Reason))
	})
	out.Refusals = first(out.Refusals, v1alpha1.MaxSandboxRefusals)
	if before != nil {
		out.LastProbeTime = before.LastProbeTime
	}
	if seen.Probed.Has(class) || (probed && out.LastProbeTime == nil) {
		out.LastProbeTime = &now
	}
	return out
}

// noSandboxes returns why no node of a class can run pods that make sandboxes, and what to do; empty if nothing is known against it.
func noSandboxes(table nodeclass.Table, status v1alpha1.NodeClassStatus) string {
	class, _ := table.Lookup(status.Name)
	if class.Policy == nodeclass.PolicyOwn {
		return "The SELinux policy of this class's operating system has no type for containers that make sandboxes. Run such pods on nodes of another class."
	}
	if len(status.RuntimeVersions) == 0 || slices.ContainsFunc(status.RuntimeVersions, func(v string) bool { return !probing.IsRuntimeTooOld(v) }) {
		return ""
	}
	return fmt.Sprintf("Nodes of this class run %s, which runs no pods with users of their own. Update containerd to 2.0 or newer, CRI-O to 1.25 or newer.",
		Shorten(strings.Replace(status.RuntimeVersions[0], "://", " ", 1), 64))
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

// sandboxesBefore is what a status says of sandboxes on nodes of a class; nil if nothing.
func sandboxesBefore(status v1alpha1.ImageCSIDriverStatus, class string) *v1alpha1.ClassSandboxes {
	for i := range status.NodeClasses {
		if status.NodeClasses[i].Name == class {
			return status.NodeClasses[i].NestedSandboxes
		}
	}
	return nil
}
