package rollout

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
)

// The API's defaults.
const (
	defaultMinReady = 30
	defaultDeadline = 300
)

// state of a node plugin.
type state int

const (
	healthy  state = iota // ready and registered for long enough
	settling              // ready and registered, but not for long enough yet
	pending               // not ready, or without a pod, within the deadline
	failing               // the same beyond the deadline
	ending                // its pod is being deleted
	away                  // its node's kubelet does not report
	lost                  // the same beyond the deadline
	states
)

// plugin is a node plugin on a node.
type plugin struct {
	node *placement.Node
	// pod is nil while the DaemonSet has none for the node.
	pod      *corev1.Pod
	revision string
	state    state
	// wait is how long until the state changes by time alone; 0 if it does not.
	wait time.Duration
	// sighting is what to remember of it; nil while its state is unknown.
	sighting *Sighting
	// absence is why it has no pod, by the DaemonSet's controller.
	absence pluginpod.Absence
}

// works reports whether pods on the node can get volumes.
func (p *plugin) works() bool { return p.state == healthy || p.state == settling }

// unheard reports whether the node does not report.
func (p *plugin) unheard() bool { return p.state == away || p.state == lost }

// absent reports whether the node reports and has no pod.
func (p *plugin) absent() bool { return p.pod == nil && !p.unheard() }

// examine finds a node plugin's state. The present form has to be registered under every name, an earlier one may not
// know them all.
func examine(in Input, node *placement.Node, pod *corev1.Pod, wanted string) plugin {
	p := plugin{node: node, pod: pod, revision: pod.Labels[contract.RevisionLabel]}
	registered := node.Registered.Has(in.Names[0])
	if p.revision == wanted {
		registered = node.Registered.HasAll(in.Names...)
	}
	switch {
	case node.Away:
		p.unseen(in)
		return p
	case pod.DeletionTimestamp != nil:
		p.state = ending
		p.sighting = in.Seen.still(node.Name, p.revision, node.Back)
		return p
	}
	ready, turned := pluginpod.Ready(pod)
	now := Sighting{revision: p.revision, serves: ready && registered, turned: turned.Unix(), back: node.Back.Unix(), since: in.Now}
	if before := in.Seen.still(node.Name, p.revision, node.Back); before != nil && !now.serves && !in.Seen.has(pod.UID) {
		now.since = before.since // Another pod that does not work in place of one that did not.
	}
	p.sighting = in.Seen.look(pod.UID, now)
	p.setState(in)
	return p
}

// missed is a node for which a DaemonSet, whose template has a revision, has no pod. It does not count as failing before the
// DaemonSet controller has seen the template.
func missed(in Input, node *placement.Node, live *appsv1.DaemonSet, refused string) plugin {
	p := plugin{node: node, revision: live.Spec.Template.Labels[contract.RevisionLabel],
		absence: pluginpod.Absence{DaemonSet: live.Name, Namespace: live.Namespace, Refusal: refused}}
	if node.Away {
		p.unseen(in)
		return p
	}
	p.sighting = in.Seen.look(onNode(node.Name), Sighting{revision: p.revision, back: node.Back.Unix(), since: in.Now})
	p.setState(in)
	if p.state == failing && live.Status.ObservedGeneration != live.Generation {
		p.state = pending
	}
	return p
}

// setState sets the state by how long the sighting has been so.
func (p *plugin) setState(in Input) {
	lasted := in.Now.Sub(p.sighting.since)
	minReady := seconds(in.Spec.MinReadySeconds, defaultMinReady)
	deadline := Deadline(in.Spec)
	switch {
	case p.sighting.serves && lasted >= minReady:
		p.state = healthy
	case p.sighting.serves:
		p.state, p.wait = settling, minReady-lasted
	case lasted < deadline:
		p.state, p.wait = pending, deadline-lasted
	default:
		p.state = failing
	}
}

// unseen sets the state of a node plugin whose node does not report.
func (p *plugin) unseen(in Input) {
	p.sighting = in.Seen.look(onNode(p.node.Name), Sighting{away: true, since: in.Now})
	p.state = lost
	if left := Deadline(in.Spec) - in.Now.Sub(p.sighting.since); left > 0 {
		p.state, p.wait = away, left
	}
}

// Deadline is how long a node plugin may go without serving.
func Deadline(spec v1alpha1.Rollout) time.Duration {
	return seconds(spec.ProgressDeadlineSeconds, defaultDeadline)
}

func seconds(set *int32, otherwise int32) time.Duration {
	return time.Duration(ptr.Deref(set, otherwise)) * time.Second
}

// words of a failing node plugin.
func (p *plugin) words(deadline time.Duration) (v1alpha1.ProblemReason, string) {
	if p.pod == nil {
		return v1alpha1.ProblemNotCreated, p.absence.Words(deadline)
	}
	if reason, message := pluginpod.Problem(p.pod); reason != "" {
		return reason, message
	}
	if ready, _ := pluginpod.Ready(p.pod); ready {
		return v1alpha1.ProblemNotRegistered, "The node plugin's pod " + p.pod.Name +
			" is ready, but the kubelet has not registered every name of the driver for " + deadline.String() + "."
	}
	message := "The node plugin's pod " + p.pod.Name + " runs, but has not been ready for " + deadline.String() + "."
	if last := pluginpod.LastWords(p.pod); last != "" {
		message += " " + last
	}
	return v1alpha1.ProblemNotReady, message
}
