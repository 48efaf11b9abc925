package status

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/rollout"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
)

// Reasons of conditions. A refused driver's reasons come from package conflicts.
const (
	ReasonNodesReady        = "NodesReady"
	ReasonNodesNotReady     = "NodesNotReady"
	ReasonNoEligibleNodes   = "NoEligibleNodes"
	ReasonRolledOut         = "RolledOut"
	ReasonRollingOut        = "RollingOut"
	ReasonPaused            = "Paused"
	ReasonRollingBack       = "RollingBack"
	ReasonRolloutFailed     = "RolloutFailed"
	ReasonUnmanaged         = "Unmanaged"
	ReasonApplyFailed       = "ApplyFailed"
	ReasonNodePluginFailed  = "NodePluginFailing"
	ReasonSeccompFailed     = "SeccompProfileNotInEffect"
	ReasonFieldNotServed    = "FieldNotServed"
	ReasonPolicyNotInEffect = "PolicyNotInEffect"
	ReasonAsExpected        = "AsExpected"
)

// maxErrorMessage bounds what the API server's refusals say: there may be one for every node.
const maxErrorMessage = 1024

// maxSeccompMessage bounds the Security Profiles Operator's message: it may name every node.
const maxSeccompMessage = 512

func condition(kind string, is bool, reason, format string, args ...any) metav1.Condition {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

func available(seen Observation, nodes v1alpha1.NodeCounts, starting int32) metav1.Condition {
	const kind = v1alpha1.ConditionAvailable
	switch {
	case seen.Removal == RemovalDone:
		return condition(kind, false, string(RemovalDone), "The driver is removed; spec.managementState: Managed brings it back.")
	case seen.Removal != "" && nodes.Eligible == 0:
		return condition(kind, false, ReasonNodesNotReady, "The driver has left every node.")
	case nodes.Eligible == 0 && nodes.Unsupported == 0:
		return condition(kind, false, ReasonNoEligibleNodes, "None of the cluster's %s is selected, by spec.nodePlugin.nodeSelector and nodeSelectorTerms and without the label "+contract.ExcludeLabel+".", nodesOf(nodes.Total))
	case nodes.Eligible == 0:
		return condition(kind, false, ReasonNoEligibleNodes, "None of the selected nodes (%d) can serve the driver; status.unsupported has the reasons.", nodes.Unsupported)
	case nodes.Ready < nodes.Eligible && nodes.Ready > 0 && nodes.Ready+starting >= nodes.Eligible:
		return condition(kind, true, ReasonNodesReady, "%d of %s that can serve the driver do; the others, or their node plugins, began less than %s ago.%s",
			nodes.Ready, nodesOf(nodes.Eligible), rollout.Deadline(seen.Driver.Spec.Rollout), besides(nodes))
	case nodes.Ready < nodes.Eligible:
		return condition(kind, false, ReasonNodesNotReady, "%d of %s that can serve the driver do.%s", nodes.Ready, nodesOf(nodes.Eligible), besides(nodes))
	}
	return condition(kind, true, ReasonNodesReady, "Every node that can serve the driver does (%d).%s", nodes.Eligible, besides(nodes))
}

// besides describes the nodes that are not counted.
func besides(nodes v1alpha1.NodeCounts) string {
	if nodes.Unsupported == 0 {
		return ""
	}
	return fmt.Sprintf(" %s cannot serve it; status.unsupported has the reasons.", nodesOf(nodes.Unsupported))
}

func nodesOf(count int32) string {
	if count == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", count)
}

func progressing(seen Observation, ignored []v1alpha1.IgnoredPod) metav1.Condition {
	const kind = v1alpha1.ConditionProgressing
	switch {
	case seen.Driver.Spec.ManagementState == v1alpha1.Unmanaged && seen.Removal == "":
		return condition(kind, false, ReasonUnmanaged, "The operator changes nothing, because spec.managementState is Unmanaged.")
	case seen.Refusal != nil && seen.Removal == "":
		return condition(kind, false, seen.Refusal.Reason, "Nothing is changed until the conflict is solved.")
	}
	switch seen.Removal {
	case RemovalWaiting:
		return condition(kind, true, string(RemovalWaiting), "The driver leaves each node when no pod there uses its volumes, and is removed with the last; %s It is checked again every half minute.", waitingOn(seen))
	case RemovalStopping:
		return condition(kind, true, string(RemovalStopping), "%s%s%s", ending(seen), abandoned(seen), inSpiteOf(ignored))
	case RemovalDone:
		return condition(kind, false, string(RemovalDone), "The driver has no object left in the cluster.%s%s", abandoned(seen), inSpiteOf(ignored))
	}
	return rollingOut(seen.Rollout, seen.Stopped != "")
}

// inSpiteOf describes the pods that a removal did not wait for.
func inSpiteOf(ignored []v1alpha1.IgnoredPod) string {
	if len(ignored) == 0 {
		return ""
	}
	return " Because spec.volumesInUse is Ignore, pods keep volumes that are not unmounted until the driver is back; status.ignoredPods names them."
}

func rollingOut(rollout *v1alpha1.RolloutStatus, stopped bool) metav1.Condition {
	const kind = v1alpha1.ConditionProgressing
	if rollout == nil {
		return condition(kind, false, ReasonRolledOut, "No rollout is in progress.")
	}
	switch rollout.Phase {
	case v1alpha1.PhaseCanary, v1alpha1.PhaseUpdating:
		return condition(kind, true, ReasonRollingOut, "%s", rollout.Message)
	case v1alpha1.PhasePaused:
		return condition(kind, false, ReasonPaused, "%s", rollout.Message)
	case v1alpha1.PhaseRollingBack:
		if !stopped {
			return condition(kind, true, ReasonRollingBack, "%s", rollout.Message)
		}
		return condition(kind, false, ReasonRolloutFailed, "%s", rollout.Message)
	case v1alpha1.PhaseRolledBack:
		return condition(kind, false, ReasonRolloutFailed, "%s", rollout.Message)
	}
	return condition(kind, false, ReasonRolledOut, "%s", rollout.Message)
}

func degraded(seen Observation, problems []v1alpha1.NodeProblem) metav1.Condition {
	const kind = v1alpha1.ConditionDegraded
	if seen.Err != nil {
		return condition(kind, true, ReasonApplyFailed, "The operator could not apply the spec and will try again: %s.", Shorten(seen.Err.Error(), maxErrorMessage))
	}
	if seen.Refusal != nil && seen.Removal == "" {
		return condition(kind, true, seen.Refusal.Reason, "%s", seen.Refusal.Message)
	}
	if len(seen.Contests) > 0 {
		return contestedFields(seen.Contests)
	}
	if loosened, is := lessConfined(seen); is {
		return loosened
	}
	if seen.Rollout != nil && seen.Rollout.Failure != nil {
		failure := seen.Rollout.Failure
		if seen.Stopped != "" {
			return condition(kind, true, ReasonRolloutFailed, "%s Why the change failed on node %s (%s): %s", seen.Stopped, failure.Node, failure.Reason, failure.Message)
		}
		return condition(kind, true, ReasonRolloutFailed, "The change failed on node %s, and the nodes are rolled back to the node plugin that worked before. Any change of the spec tries again. What happened on the node (%s): %s",
			failure.Node, failure.Reason, failure.Message)
	}
	if at := slices.IndexFunc(problems, func(p v1alpha1.NodeProblem) bool { return p.Reason == v1alpha1.ProblemNotEnding }); at >= 0 {
		return condition(kind, true, string(v1alpha1.ProblemNotEnding), "The removal waits for a node plugin that does not end, on node %s: %s", problems[at].Node, problems[at].Message)
	}
	failing := 0
	for _, problem := range problems {
		if severity(problem.Reason) == failure {
			failing++
		}
	}
	if failing > 0 {
		return condition(kind, true, ReasonNodePluginFailed, "The node plugin fails on %s. On node %s: %s",
			nodesOf(int32(failing)), problems[0].Node, problems[0].Message)
	}
	if unenforced, ok := unenforced(seen); ok {
		return unenforced
	}
	if len(seen.Costs) > 0 {
		return unserved(seen.Costs)
	}
	out := seccomp(seen.Seccomp)
	if out.Status == metav1.ConditionFalse {
		out.Message += unknownPolicies(seen)
	}
	return out
}

// unserved is the condition Degraded of a driver that asks for what the API server does not have.
func unserved(costs []render.ServedField) metav1.Condition {
	return condition(v1alpha1.ConditionDegraded, true, ReasonFieldNotServed, "spec.credentials.providers.tokenAudiences has no effect, and credential providers get no service account tokens: "+
		"the API server does not know the field %s of CSIDriver, which Kubernetes has since %s. Upgrade the cluster, or remove tokenAudiences.", costs[0].Property, costs[0].Since)
}

// seccomp is the condition Degraded of a driver without any other problem.
func seccomp(profile security.Seccomp) metav1.Condition {
	const kind = v1alpha1.ConditionDegraded
	const wide = "The node plugins run with the container runtime's default seccomp profile"
	why := ""
	if profile.Message != "" {
		why = ": " + Shorten(profile.Message, maxSeccompMessage)
	}
	switch profile.State {
	case security.SeccompInstalled, security.SeccompPending, security.SeccompInProgress, "":
	default:
		return condition(kind, true, ReasonSeccompFailed, "%s, although spec.nodePlugin.seccompProfile is Narrow: the Security Profiles Operator reports that SeccompProfile %s is in state %s%s. See its log, or set the field to RuntimeDefault.",
			wide, profile.Profile, profile.State, why)
	}
	switch {
	case profile.Missing:
		return condition(kind, true, ReasonSeccompFailed, "%s, although spec.nodePlugin.seccompProfile is Narrow: the cluster has no Security Profiles Operator (kind SeccompProfile, security-profiles-operator.x-k8s.io/v1, from release 1.0). Install it, or set the field to RuntimeDefault.", wide)
	case profile.Profile != "" && profile.File == "":
		return condition(kind, false, ReasonAsExpected, "No action needed. %s until the Security Profiles Operator has installed SeccompProfile %s on every node.", wide, profile.Profile)
	}
	return condition(kind, false, ReasonAsExpected, "No action needed.")
}
