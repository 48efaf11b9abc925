package probing

import (
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/recheck"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

const (
	// AtOnce is how many nodes run a probe at a time.
	AtOnce = 4
	// Patience is for how long a probe's pod may be on its way. It takes seconds.
	Patience = 3 * time.Minute
	// Again is after which time a probe that did not come to a result is made again: what kept it from one may be gone, and no field of the
	// node tells.
	Again = 30 * time.Minute
	// maxDetail bounds what is logged of a report.
	maxDetail = 256
)

// Revision is the label imagecsi.dev/revision of the pods of probes: it names the profile and the SELinux type that they have.
func Revision() string {
	return strings.TrimSuffix(strings.TrimPrefix(sandbox.Name(), sandbox.Prefix), ".json") + "-" + contract.SELinuxSandboxes
}

// Node is a node with what matters for a probe there.
type Node struct {
	placement.Node
	// Prepared is set if a ready node plugin keeps the profile there.
	Prepared bool
	// Probe is the probe's pod; nil if there is none.
	Probe *corev1.Pod
}

// Input is what a decision depends on.
type Input struct {
	// Asked is who asks for sandboxes.
	Asked Asked
	Nodes []Node
	// Began is when a probe was first seen to be under way, or to have come to no result, by the node's name.
	Began map[string]time.Time
	Now   time.Time
}

// Change is what the labels of a node should be.
type Change struct {
	// Index of the node among the input's.
	Index int
	// Probe is the value of the label imagecsi.dev/sandbox-probe; empty for none.
	Probe string
	// Proven is set if the node should have the label by which pods that make sandboxes select it.
	Proven bool
	// Report is set if a probe has come to an end: what it reported, for people.
	Report string
}

// Decision is what to do.
type Decision struct {
	Changes []Change
	// Began is for the next decision.
	Began map[string]time.Time
	// Next is when to decide again if nothing happens; 0 if time alone changes nothing.
	Next time.Duration
}

// Decide decides what the labels of nodes should be. A result stands until what it depends on changes, and a node keeps its proof until
// there is another result: not to know is no result. A node whose kubelet does not report is tried later, and one whose probe came to
// no result again, after all others.
func Decide(in Input) Decision {
	out := Decision{Began: map[string]time.Time{}}
	free := AtOnce
	var due []Change // probes to be made again
	for i := range in.Nodes {
		if in.Nodes[i].Labels[contract.SandboxProbeLabel] == contract.SandboxProbeRunning {
			free--
		}
	}
	for i := range in.Nodes {
		at := &in.Nodes[i]
		change := Change{Index: i, Probe: at.Labels[contract.SandboxProbeLabel], Proven: isProven(at.Node)}
		before := change
		state := Of(at.Node)
		if at.Unknown != nil || in.Asked == ByAnother { // The other driver decides.
			continue
		}
		switch {
		case in.Asked == ByNobody, !at.Selected, at.Current == "", state.Refused != "" && !state.Probed:
			change.Probe, change.Proven = "", false
		case state.Running:
			change = in.running(at, change, &out)
		case state.Probed && in.isDue(at, state, &out):
			due = append(due, change)
			continue
		case state.Probed:
			change.Proven = state.Proven
		case at.mayBegin() && free > 0:
			free--
			change.Probe = contract.SandboxProbeRunning
		}
		if _, has := at.Labels[contract.SandboxNodeLabel]; change != before || has != change.Proven {
			out.Changes = append(out.Changes, change)
		}
	}
	for _, change := range due[:min(len(due), max(free, 0))] {
		change.Probe, change.Proven = contract.SandboxProbeRunning, false
		out.Changes = append(out.Changes, change)
	}
	return out
}

// mayBegin reports whether a probe can be made on a node.
func (n *Node) mayBegin() bool { return n.Prepared && !n.Away && n.Probe == nil }

// isDue reports whether a probe that came to no result is to be made again now.
func (in Input) isDue(at *Node, state State, out *Decision) bool {
	if state.Refused != v1alpha1.SandboxNotStarted && state.Refused != v1alpha1.SandboxUnreadable {
		return false
	}
	since, known := in.Began[at.Name]
	if !known {
		since = in.Now
	}
	out.Began[at.Name] = since
	left := Again - in.Now.Sub(since)
	out.Next = recheck.Sooner(out.Next, max(left, Patience))
	return left <= 0 && at.mayBegin()
}

// running returns what becomes of a node that runs a probe.
func (in Input) running(at *Node, change Change, out *Decision) Change {
	if at.Away {
		change.Probe = ""
		return change
	}
	verdict, detail := resultOf(at.Probe)
	began, known := in.Began[at.Name]
	if !known {
		began = in.Now
	}
	left := Patience - in.Now.Sub(began)
	if verdict == "" && left <= 0 {
		verdict, detail = string(v1alpha1.SandboxNotStarted), "the pod did not come to an end in time"
	}
	if verdict == "" {
		out.Began[at.Name] = began
		out.Next = recheck.Sooner(out.Next, left)
		return change
	}
	change.Probe = Fingerprint(at.Node.Node) + "." + verdict
	change.Proven = verdict == string(sandbox.Proven)
	change.Report = detail
	return change
}

// resultOf returns the result of a probe's pod, and what it reported; an empty result while there is none. A pod that is being deleted
// or has another profile says nothing about this one.
func resultOf(pod *corev1.Pod) (result, detail string) {
	if pod == nil || pod.DeletionTimestamp != nil || pod.Labels[contract.RevisionLabel] != Revision() {
		return "", ""
	}
	for _, container := range pod.Status.ContainerStatuses {
		for _, ended := range []*corev1.ContainerStateTerminated{container.State.Terminated, container.LastTerminationState.Terminated} {
			if ended == nil {
				continue
			}
			detail = strings.ToValidUTF8(ended.Message[:min(len(ended.Message), maxDetail)], "")
			if verdict := sandbox.VerdictOf(ended.Message); verdict != "" {
				return string(verdict), detail
			}
			if ended.Reason == startError || ended.Reason == cannotRun {
				return string(v1alpha1.SandboxNotStarted), detail
			}
			return string(v1alpha1.SandboxUnreadable), detail
		}
	}
	return "", ""
}

// The reasons of a container that the runtime could not start, of containerd and of CRI-O.
const (
	startError = "StartError"
	cannotRun  = "ContainerCannotRun"
)

// Labels returns a node's labels with those of a change.
func (c Change) Labels(before map[string]string) map[string]string {
	out := maps.Clone(before)
	if out == nil {
		out = map[string]string{}
	}
	delete(out, contract.SandboxProbeLabel)
	delete(out, contract.SandboxNodeLabel)
	if c.Probe != "" {
		out[contract.SandboxProbeLabel] = c.Probe
	}
	if c.Proven {
		out[contract.SandboxNodeLabel] = contract.SandboxEngine
	}
	return out
}
