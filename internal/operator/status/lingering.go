package status

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
	"github.com/image-csi/image-csi-operator/internal/operator/recheck"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/rollout"
)

// overdueAfter is how much later than its grace period allows the end of a pod may be known: the kubelet reports it, and
// clocks differ.
const overdueAfter = 15 * time.Second

// silentSince returns since when a node's kubelet has not reported that the node is ready, by the clock that recorded it; the
// zero time if the node is ready. A kubelet that never reported is silent since the node was created.
func silentSince(node *corev1.Node) time.Time {
	switch ready := placement.ReadyCondition(node); {
	case ready == nil:
		return node.CreationTimestamp.Time
	case ready.Status == corev1.ConditionTrue:
		return time.Time{}
	default:
		return ready.LastTransitionTime.Time
	}
}

// Lingering is what keeps a removal from its end: node plugins' pods that do not end, and after them kinds of which the driver may
// have objects.
type Lingering struct {
	// Overdue are the names of pods that should have ended.
	Overdue sets.Set[string]
	// Abandoned are the names of those whose end is not waited for, because spec.volumesInUse is Ignore and their node has
	// been silent for longer than progressDeadlineSeconds.
	Abandoned sets.Set[string]
	// Unclear are the optional kinds whose objects the operator cannot list yet.
	Unclear []render.OptionalKind
	// Next is how long until there may be more pods; 0 if time alone changes nothing.
	Next time.Duration
}

// Linger finds the node plugins' pods that do not end. Only the kubelet ends a pod. On a node whose kubelet is dead, the pod
// stays until the Node or the pod is deleted by force.
func Linger(seen Observation, now time.Time) Lingering {
	out := Lingering{Overdue: sets.New[string](), Abandoned: sets.New[string]()}
	silent := map[string]time.Time{}
	for _, node := range seen.Nodes {
		silent[node.Name] = silentSince(node.Node)
	}
	after := func(since time.Time, period time.Duration, reached sets.Set[string], pod string) {
		if left := period - max(0, now.Sub(since)); left > 0 {
			out.Next = recheck.Sooner(out.Next, left)
			return
		}
		reached.Insert(pod)
	}
	for i := range seen.Pods {
		pod := &seen.Pods[i]
		if pod.DeletionTimestamp == nil {
			continue
		}
		after(pod.DeletionTimestamp.Time, overdueAfter, out.Overdue, pod.Name)
		if since := silent[pluginpod.NodeOf(pod)]; !since.IsZero() && seen.Driver.Spec.VolumesInUse == v1alpha1.VolumesIgnore {
			after(since, rollout.Deadline(seen.Driver.Spec.Rollout), out.Abandoned, pod.Name)
		}
	}
	return out
}

// lingeringProblems returns, by node, the pods that keep a removal from its end, and what to do.
func lingeringProblems(seen Observation) map[string]v1alpha1.NodeProblem {
	out := map[string]v1alpha1.NodeProblem{}
	silent, known := sets.New[string](), sets.New[string]()
	for _, node := range seen.Nodes {
		known.Insert(node.Name)
		if !silentSince(node.Node).IsZero() {
			silent.Insert(node.Name)
		}
	}
	for i := range seen.Pods {
		pod := &seen.Pods[i]
		node := pluginpod.NodeOf(pod)
		if seen.Removal != RemovalStopping || !seen.Lingering.Overdue.Has(pod.Name) || seen.Lingering.Abandoned.Has(pod.Name) {
			continue
		}
		message := fmt.Sprintf("The node plugin's pod %s should have ended; the removal waits for it. See the kubelet's log on the node, and kubectl describe pod.", pod.Name)
		if !known.Has(node) {
			message = fmt.Sprintf("The node is gone, and Kubernetes deletes the node plugin's pod there within minutes. If not: kubectl -n %s delete pod %s --force.", pod.Namespace, pod.Name)
		}
		if silent.Has(node) {
			message = fmt.Sprintf("The node does not report, so the node plugin's pod never ends, and the removal waits for it. If the node is gone, delete it: kubectl delete node %s. "+
				"Otherwise kubectl -n %s delete pod %s --force, or set spec.volumesInUse to Ignore, which passes over it.", node, pod.Namespace, pod.Name)
		}
		out[node] = v1alpha1.NodeProblem{Node: node, Reason: v1alpha1.ProblemNotEnding, Message: message}
	}
	return out
}

// unanswered describes what to do if a removal waits for a pod on a silent node.
func unanswered(node placement.Node) string {
	if silentSince(node.Node).IsZero() {
		return ""
	}
	return fmt.Sprintf(" The node does not report, so a pod there never ends: if it is gone, kubectl delete node %s; else set spec.volumesInUse to Ignore.", node.Name)
}

// abandoned describes the node plugins that a removal passed over.
func abandoned(seen Observation) string {
	nodes := sets.New[string]()
	for i := range seen.Pods {
		if seen.Lingering.Abandoned.Has(seen.Pods[i].Name) {
			nodes.Insert(pluginpod.NodeOf(&seen.Pods[i]))
		}
	}
	if nodes.Len() == 0 {
		return ""
	}
	return fmt.Sprintf(" Node plugins on %s that does not report were passed over (%s), because spec.volumesInUse is Ignore: their pods end when the node is back or deleted.",
		nodesOf(int32(nodes.Len())), someOf(sets.List(nodes)))
}

// ending describes how many node plugins have not ended yet, and where; then, which kinds the removal waits for.
func ending(seen Observation) string {
	nodes := sets.New[string]()
	for i := range seen.Pods {
		if node := pluginpod.NodeOf(&seen.Pods[i]); node != "" && !seen.Lingering.Abandoned.Has(seen.Pods[i].Name) {
			nodes.Insert(node)
		}
	}
	switch {
	case len(seen.Lingering.Unclear) > 0:
		return unlisted(seen.Lingering.Unclear)
	case nodes.Len() == 0:
		return "The node plugins are ending."
	}
	return fmt.Sprintf("The node plugins are ending, still on %s: %s.", nodesOf(int32(nodes.Len())), someOf(sets.List(nodes)))
}

// unlisted describes the kinds that a removal waits for: the driver may have objects of them.
func unlisted(kinds []render.OptionalKind) string {
	names := make([]string, 0, len(kinds))
	for _, kind := range kinds {
		names = append(names, kind.Definition())
	}
	return fmt.Sprintf("The node plugins have ended. The removal waits until the operator can list the driver's objects of %s, to delete them: see why in its log, and try kubectl get %s -A.",
		strings.Join(names, ", "), strings.Join(names, ","))
}

// waitingOn describes the nodes on which a removal waits for pods.
func waitingOn(seen Observation) string {
	var nodes []string
	for _, node := range seen.Nodes {
		if node.Waits() {
			nodes = append(nodes, node.Name)
		}
	}
	if len(nodes) == 0 {
		return "status.problems names such pods."
	}
	return fmt.Sprintf("it waits on %s (%s), and status.problems names the pods.", nodesOf(int32(len(nodes))), someOf(nodes))
}

// someOf lists a few names.
func someOf(names []string) string {
	const most = 3
	out := ""
	for i, name := range first(names, most) {
		if i > 0 {
			out += ", "
		}
		out += name
	}
	if more := len(names) - most; more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	return out
}
