package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
)

// The weight of a problem.
const (
	failure = iota // something that ran, or should run, does not
	delay          // something takes its time
	limit          // the node is not made for it
)

func severity(reason v1alpha1.ProblemReason) int {
	switch reason {
	case v1alpha1.ProblemImagePull, v1alpha1.ProblemCrashing, v1alpha1.ProblemCannotStart,
		v1alpha1.ProblemUnschedulable, v1alpha1.ProblemNotCreated:
		return failure
	case v1alpha1.ProblemNotEnding, v1alpha1.ProblemWaiting, v1alpha1.ProblemRuntimeSilent, v1alpha1.ProblemNotRegistered, v1alpha1.ProblemAliasMissing,
		v1alpha1.ProblemTaintStays:
		return delay
	}
	return limit
}

// podProblems returns, by node, why node plugins do not run.
func podProblems(seen Observation) map[string]v1alpha1.NodeProblem {
	out := map[string]v1alpha1.NodeProblem{}
	for _, absent := range seen.Absent {
		out[absent.Node] = v1alpha1.NodeProblem{Node: absent.Node, Reason: v1alpha1.ProblemNotCreated, Message: absent.Message}
	}
	for i := range seen.Pods {
		pod := &seen.Pods[i]
		node := pluginpod.NodeOf(pod)
		if node == "" || pod.DeletionTimestamp != nil {
			continue
		}
		if reason, message := pluginpod.Problem(pod); reason != "" {
			out[node] = v1alpha1.NodeProblem{Node: node, Reason: reason, Message: message}
		}
	}
	return out
}

// findProblems returns at most one problem for each node, the worst first, then by node name.
func findProblems(seen Observation) []v1alpha1.NodeProblem {
	failing, lingering := podProblems(seen), lingeringProblems(seen)
	var out []v1alpha1.NodeProblem
	for _, problem := range lingering {
		out = append(out, problem) // Also of a node that is gone.
	}
	for _, node := range seen.Nodes {
		if _, has := lingering[node.Name]; has {
			continue
		}
		if problem, has := failing[node.Name]; has {
			out = append(out, problem)
		} else if problem, has := nodeProblem(seen, node); has {
			out = append(out, problem)
		}
	}
	slices.SortFunc(out, func(a, b v1alpha1.NodeProblem) int {
		return cmp.Or(cmp.Compare(severity(a.Reason), severity(b.Reason)), strings.Compare(a.Node, b.Node))
	})
	return out
}

func nodeProblem(seen Observation, node placement.Node) (v1alpha1.NodeProblem, bool) {
	problem := func(reason v1alpha1.ProblemReason, format string, args ...any) (v1alpha1.NodeProblem, bool) {
		return v1alpha1.NodeProblem{Node: node.Name, Reason: reason, Message: fmt.Sprintf(format, args...)}, true
	}
	switch {
	case node.Waits() && seen.Removal != "":
		return problem(v1alpha1.ProblemWaiting, "Pod %s uses a volume of the driver. The driver stays on the node until no pod there does.%s", node.UsedBy, unanswered(node))
	case node.Waits() && node.Placed():
		return problem(v1alpha1.ProblemWaiting, "Pod %s uses a volume by an alias that spec.aliases does not list any more. The alias is served until no pod uses one.", node.UsedBy)
	case node.Waits():
		return problem(v1alpha1.ProblemWaiting, "The node's class should change from %s to %s, but pod %s uses a volume of the driver. It changes when no pod of the node does.",
			node.Current, cmp.Or(node.Wanted, "none"), node.UsedBy)
	case seen.Removal != "":
		return v1alpha1.NodeProblem{}, false
	case node.Unsupported != nil && node.Tainted:
		return problem(node.Unsupported.Reason, "%s It keeps the taint %s; remove it by hand.", node.Unsupported.Error(), contract.StartupTaint)
	case node.Unsupported != nil:
		return problem(node.Unsupported.Reason, "%s", node.Unsupported.Error())
	case seen.Driver.Spec.ManagementState == v1alpha1.Unmanaged || seen.Refusal != nil:
		return v1alpha1.NodeProblem{}, false
	case node.Tainted && !node.Selected:
		return problem(v1alpha1.ProblemTaintStays, "The node has the taint %s, but spec.nodePlugin's selectors, or the label "+contract.ExcludeLabel+", exclude it, so it keeps the taint. Remove the taint, or have the node selected.", contract.StartupTaint)
	case !node.Eligible():
		return v1alpha1.NodeProblem{}, false
	case node.Unknown != nil:
		return problem(v1alpha1.ProblemRuntimeSilent, "%s", node.Unknown.Error())
	case !node.Registered.Has(seen.Driver.Name):
		return problem(v1alpha1.ProblemNotRegistered, "The kubelet has not registered the driver yet. If this stays, look at the node plugin's pod on the node.")
	case !node.Registered.HasAll(seen.Names...):
		return problem(v1alpha1.ProblemAliasMissing, "The kubelet has registered the driver, but not under every alias yet.")
	}
	return v1alpha1.NodeProblem{}, false
}

// sample cuts the list of problems and their messages to what a status may hold.
func sample(problems []v1alpha1.NodeProblem) []v1alpha1.NodeProblem {
	out := slices.Clone(first(problems, v1alpha1.MaxProblems))
	for i := range out {
		out[i].Message = Shorten(out[i].Message, v1alpha1.MaxProblemMessage)
	}
	return out
}
