package rollout

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// Input is what one look at the cluster showed of a driver's rollout.
type Input struct {
	// Spec is the driver's.
	Spec v1alpha1.Rollout
	// Generation of the driver. Any later one gives a change that failed another chance.
	Generation int64
	// Now is the time by the operator's clock. It is compared with earlier times of the same clock and no other.
	Now time.Time
	// Seen is what the decision before this one saw; nil in the first one of an operator.
	Seen Sightings
	// Classes with a DaemonSet to apply.
	Classes []Class
}

// Class is one node class of the driver.
type Class struct {
	// Rendered is the DaemonSet that the spec asks for.
	Rendered *appsv1.DaemonSet
	// Live is the DaemonSet in the cluster; nil if there is none yet.
	Live *appsv1.DaemonSet
	// Nodes that the class label places here.
	Nodes []Node
	// Quiet is how many further nodes there are that have a node plugin of the live form. They can be left out of Nodes, and
	// their pods of Pods, while all classes Rest.
	Quiet int
	// Pods of the DaemonSet.
	Pods []*corev1.Pod
}

// Node is a node of the class.
type Node struct {
	// Name of the node.
	Name string
	// Labels of the node.
	Labels map[string]string
	// Joined is when the node came into the cluster, by the API server's clock.
	Joined time.Time
	// Away says that its kubelet does not report; nothing can be said about a node plugin there.
	Away bool
	// Back is since when the kubelet reports, by whose clock ever.
	Back time.Time
	// Serves says that the kubelet has registered the driver's own name.
	Serves bool
	// Registered says that the kubelet has registered every name of the driver.
	Registered bool
}

// NodeOf returns a node as a rollout sees it: whether its kubelet has registered the driver's own name, and every one.
func NodeOf(node *corev1.Node, serves, registered bool) Node {
	out := Node{Name: node.Name, Labels: node.Labels, Joined: node.CreationTimestamp.Time, Serves: serves, Registered: registered}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady { // A node that says nothing about it is taken to report.
			out.Away, out.Back = condition.Status != corev1.ConditionTrue, condition.LastTransitionTime.Time
		}
	}
	return out
}

// Rest says that nothing is to be rolled out: every DaemonSet has the form that the spec asks for, that form has worked, and
// no node plugin of another one does.
func Rest(classes []Class) (bool, error) {
	for i := range classes {
		c, err := evaluate(Input{}, &classes[i])
		if err != nil {
			return false, err
		}
		c.target = c.wanted
		if !c.settled() || c.record.Failed != nil || c.live.revision != c.wanted.revision || c.working() > 0 {
			return false, nil
		}
	}
	return true, nil
}

// Decision is what to do next.
type Decision struct {
	// DaemonSets to apply, one for each class of the input.
	DaemonSets []*appsv1.DaemonSet
	// Replace are the pods to delete; their DaemonSet makes new ones.
	Replace []*corev1.Pod
	// Status of the rollout.
	Status *v1alpha1.RolloutStatus
	// Next is when to look again although nothing has changed; 0 if only a change can matter.
	Next time.Duration
	// Seen is what this decision saw, for the next one's input; nil while nothing rolls out.
	Seen Sightings
}

// Decide takes the rollout one step further. It remembers nothing: what has to be remembered is in the DaemonSets that
// it returns, and comes back in the next input. An operator that starts anew lacks only the sightings, and so waits longer
// for node plugins to prove themselves. All classes go together: no class gets beyond its canaries before every
// class's have proved the change, and a change that fails in one is taken back in all.
func Decide(in Input) (Decision, error) {
	classes := make([]*class, 0, len(in.Classes))
	for i := range in.Classes {
		c, err := evaluate(in, &in.Classes[i])
		if err != nil {
			return Decision{}, err
		}
		classes = append(classes, c)
	}
	d := driver{Input: in, classes: classes}
	d.judge()
	d.aim()
	d.promote()
	daemonSets, err := d.daemonSets()
	return Decision{DaemonSets: daemonSets, Replace: d.replace(), Status: d.status(), Next: d.next(), Seen: d.seen()}, err
}

func (d *driver) daemonSets() ([]*appsv1.DaemonSet, error) {
	out := make([]*appsv1.DaemonSet, 0, len(d.classes))
	for _, c := range d.classes {
		daemonSet, err := c.record.write(c.in.Rendered, c.target)
		if err != nil {
			return nil, err
		}
		out = append(out, daemonSet)
	}
	return out, nil
}

// driver is a decision in the making.
type driver struct {
	Input
	classes []*class
	// failure of the wanted change; nil if none is known.
	failure *v1alpha1.RolloutFailure
}

func (d *driver) paused() bool { return d.Spec.State == v1alpha1.RolloutPaused }

// judge finds out whether the change has failed: before, by the record, or now, on a node.
func (d *driver) judge() {
	for _, c := range d.classes {
		if failed := c.record.Failed; failed != nil && (failed.Generation != d.Generation || failed.Revision != c.wanted.revision) {
			c.record.Failed = nil
		}
		if c.record.Failed == nil && !d.paused() {
			c.record.Failed = c.failed(d.Generation)
		}
		if c.record.Failed != nil && d.failure == nil {
			d.failure = &c.record.Failed.RolloutFailure
		}
	}
}

// aim chooses the form that each DaemonSet has from now on.
func (d *driver) aim() {
	for _, c := range d.classes {
		c.target = c.wanted
		holds := d.failure != nil || d.paused() && c.live.revision == c.good.revision
		if c.good.known() && c.in.Live != nil && holds {
			c.target = c.good
		}
		if c.target.revision == c.wanted.revision && (c.in.Live == nil || c.live.revision != c.wanted.revision) {
			c.record.Youngest = c.youngest()
		}
	}
}

// promote makes the wanted form the last good one as soon as it has arrived in every class.
func (d *driver) promote() {
	if d.failure != nil || !d.every((*class).arrived) {
		return
	}
	for _, c := range d.classes {
		if !c.settled() && (c.good.known() || c.count(healthy) > 0 || len(c.plugins) == 0) {
			c.good = c.wanted
			c.record.Good = c.wanted.template
		}
	}
}

func (d *driver) every(is func(*class) bool) bool {
	for _, c := range d.classes {
		if !is(c) {
			return false
		}
	}
	return true
}

// proved says that the canaries of every class have proved the change.
func (d *driver) proved() bool {
	return d.every(func(c *class) bool { return c.proved(d.Spec.Canary) }) && !d.lacksCanaries()
}

// lacksCanaries says that the canaries' selector selects no node where there is something to change.
func (d *driver) lacksCanaries() bool {
	if d.Spec.Canary == nil || d.Spec.Canary.NodeSelector == nil || d.failure != nil {
		return false
	}
	changing, selected := false, false
	for _, c := range d.classes {
		changing = changing || c.protects()
		for i := range c.in.Nodes {
			selected = selected || nodeclass.HasLabels(c.in.Nodes[i].Labels, d.Spec.Canary.NodeSelector)
		}
	}
	return changing && !selected
}
