package status

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// Of returns the status for an observation. Conditions whose status is that of the previous one keep their transition time;
// others get now. What the observation lacks because of an error stays as it was.
func Of(previous v1alpha1.ImageCSIDriverStatus, seen Observation, now metav1.Time) v1alpha1.ImageCSIDriverStatus {
	next := v1alpha1.ImageCSIDriverStatus{
		ObservedGeneration: previous.ObservedGeneration,
		Conditions:         slices.Clone(previous.Conditions),
		Nodes:              count(seen),
		NodeClasses:        classes(previous, seen, now),
		Unsupported:        unsupportedByReason(seen.Nodes),
		Rollout:            bounded(seen.Rollout),
	}
	next.NestedSandboxes = sandboxes(previous.NestedSandboxes, seen, next.NodeClasses)
	if seen.Err != nil && seen.Rollout == nil {
		next.Rollout = previous.Rollout
	}
	if seen.Err == nil && seen.Refusal == nil {
		next.ObservedGeneration = seen.Driver.Generation
	}
	next.IgnoredPods = ignoredPods(previous.IgnoredPods, seen)
	problems := findProblems(seen)
	next.Problems = sample(problems)
	starting, _ := Starting(previous.Conditions, seen, now.Time)
	for _, condition := range []metav1.Condition{
		available(seen, next.Nodes, starting), progressing(seen, next.IgnoredPods), degraded(seen, problems),
	} {
		if condition.Type == v1alpha1.ConditionProgressing && seen.keeps(meta.FindStatusCondition(previous.Conditions, condition.Type), condition) {
			continue
		}
		condition.ObservedGeneration = seen.Driver.Generation
		condition.LastTransitionTime = now
		condition.Message = Shorten(condition.Message, maxConditionMessage)
		meta.SetStatusCondition(&next.Conditions, condition)
	}
	if first := next.Headline(); first != nil {
		next.Message = Shorten(first.Message, maxMessage)
	}
	return next
}

// maxMessage is the bound of status.message.
const maxMessage = 1024

// maxConditionMessage is the bound that the Kubernetes API sets for a condition's message.
const maxConditionMessage = 32768

// bounded cuts a rollout's lists and texts to what a status may hold.
func bounded(rollout *v1alpha1.RolloutStatus) *v1alpha1.RolloutStatus {
	if rollout == nil {
		return nil
	}
	out := rollout.DeepCopy()
	out.Message = Shorten(out.Message, v1alpha1.MaxProblemMessage)
	out.Updating = first(out.Updating, v1alpha1.MaxUpdatingNodes)
	if out.Failure != nil {
		out.Failure.Message = Shorten(out.Failure.Message, v1alpha1.MaxProblemMessage)
	}
	return out
}

func count(seen Observation) v1alpha1.NodeCounts {
	counts := v1alpha1.NodeCounts{Total: int32(len(seen.Nodes))}
	for _, node := range seen.Nodes {
		if node.Unsupported != nil {
			counts.Unsupported++
		}
		if node.Waits() {
			counts.Waiting++
		}
		if !node.Eligible() || seen.left(node) {
			continue
		}
		counts.Eligible++
		if node.Serves(seen.Driver.Name) {
			counts.Ready++
		}
	}
	for kind, nodes := range seen.Settled {
		counts.Total += nodes
		if kind.Class != "" {
			counts.Eligible += nodes
			counts.Ready += nodes
		}
	}
	counts.Summary = fmt.Sprintf("%d/%d", counts.Ready, counts.Eligible)
	return counts
}

// Shorten cuts a text to a number of bytes, of which … takes three, and not within a character.
func Shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len("…")], "") + "…"
}
