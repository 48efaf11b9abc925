package rollout

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
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
	pending               // not ready, within the deadline
	failing               // not ready beyond the deadline
	ending                // its pod is being deleted
	away                  // its node's kubelet does not report
)

// plugin is a node plugin on a node.
type plugin struct {
	node     *Node
	pod      *corev1.Pod
	revision string
	state    state
	// wait is how long until the state changes by time alone; 0 if it does not.
	wait time.Duration
	// sighting is what to remember of it; nil while nothing can be said about it.
	sighting *Sighting
}

// works says that pods on the node can get volumes.
func (p *plugin) works() bool { return p.state == healthy || p.state == settling }

// broken says that the node plugin does not work, though its node does.
func (p *plugin) broken() bool { return p.state == pending || p.state == failing }

// examine finds a node plugin's state. The present form has to be registered under every name, an earlier one may not
// know them all.
func examine(in Input, node *Node, pod *corev1.Pod, wanted string) plugin {
	p := plugin{node: node, pod: pod, revision: pod.Labels[contract.RevisionLabel]}
	registered := node.Serves
	if p.revision == wanted {
		registered = node.Registered
	}
	switch {
	case node.Away:
		p.state = away
		return p
	case pod.DeletionTimestamp != nil:
		p.state = ending
		return p
	}
	ready, turned := pluginpod.Ready(pod)
	p.sighting = in.Seen.look(pod.UID, Sighting{serves: ready && registered, turned: turned.Unix(), back: node.Back.Unix(), since: in.Now})
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
	return p
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
