package rollout

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

// Input is what one reconcile saw of a driver's rollout.
type Input struct {
	// Spec is the driver's.
	Spec v1alpha1.Rollout
	// Names are the CSI driver names that the driver serves, its own first.
	Names []string
	// Generation of the driver. Any later one gives a change that failed another chance.
	Generation int64
	// Now is the time by the operator's clock. It is compared with earlier times of the same clock and no other.
	Now time.Time
	// Seen is what the previous decision saw; nil in the first one of an operator.
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
	Nodes []placement.Node
	// Settled is how many further nodes there are that have a node plugin of the live form. They can be left out of Nodes, and
	// their pods of Pods, while all classes Rest.
	Settled int
	// Pods of the DaemonSet.
	Pods []*corev1.Pod
	// Refused is why the DaemonSet's controller could not create a pod last time; empty if that is not known. It is needed
	// while a decision has Absent nodes.
	Refused string
}

// Rest reports whether nothing is to be rolled out: every DaemonSet has the form that the spec asks for, that form has
// worked, and no node that reports has a node plugin of another one. It needs neither a clock nor the spec: what rests depends on
// the forms that node plugins have and on which of them serve, not on for how long.
func Rest(names []string, classes []Class) (bool, error) {
	for i := range classes {
		c, err := evaluate(Input{Names: names}, &classes[i])
		if err != nil {
			return false, err
		}
		c.stage = proven // In which replacesNone asks what node plugins mean; a class of another stage does not rest.
		if !c.targetIsGood() || c.record.Failed != nil || c.live.revision != c.wanted.revision || !c.replacesNone() {
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
	// Stopped is why a rollback cannot go on; empty if it can.
	Stopped string
	// Absent are the nodes for which no pod has been created for longer than progressDeadlineSeconds, rollout or not.
	Absent []Absent
	// Next is when to look again although nothing has changed; 0 if only a change can matter.
	Next time.Duration
	// Recheck is when to look again whether nodes without a pod have got one; 0 if every node has its pod.
	Recheck time.Duration
	// Seen is what this decision saw, for the next one's input; nil while nothing rolls out and every node has its pod.
	Seen Sightings
}

// Absent is a node without a pod.
type Absent struct {
	// Node is its name, DaemonSet the name of that which should make the pod.
	Node, DaemonSet string
	// Message describes that and, if known, why.
	Message string
}

// Decide takes the rollout one step further. It has no state: what has to be remembered is in the DaemonSets that it returns,
// and is in the next input. An operator that restarts lacks only the sightings, and so waits longer for node plugins to prove
// themselves. All classes go together: no class gets beyond its canaries before every
// class's have proved the change, and a change that fails in one is rolled back in all.
func Decide(in Input) (Decision, error) {
	classes := make([]*classRollout, 0, len(in.Classes))
	for i := range in.Classes {
		c, err := evaluate(in, &in.Classes[i])
		if err != nil {
			return Decision{}, err
		}
		classes = append(classes, c)
	}
	d := decision{Input: in, classes: classes}
	d.judge()
	d.aim()
	d.arrange()
	d.promote()
	d.arrange() // What is good now has nothing to prove.
	d.replace()
	daemonSets, err := d.daemonSets()
	return Decision{DaemonSets: daemonSets, Replace: d.pods(), Status: d.status(), Stopped: d.stopped(), Absent: d.absent(),
		Next: d.next(), Recheck: d.recheck(), Seen: d.seen()}, err
}

func (d *decision) daemonSets() ([]*appsv1.DaemonSet, error) {
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

func (d *decision) pods() []*corev1.Pod {
	var out []*corev1.Pod
	for _, c := range d.classes {
		for _, p := range c.chosen {
			out = append(out, p.pod)
		}
	}
	return out
}

// decision is a Decision in the making.
type decision struct {
	Input
	classes []*classRollout
	// failure of the wanted change; nil if none is known.
	failure *v1alpha1.RolloutFailure
	// canariesProved reports whether the canaries of every class have proved the change.
	canariesProved bool
}

func (d *decision) paused() bool { return d.Spec.State == v1alpha1.RolloutPaused }

// judge finds out whether the change has failed: earlier, by the record, or now, on a node.
func (d *decision) judge() {
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
func (d *decision) aim() {
	for _, c := range d.classes {
		keepsGood := d.failure != nil || (d.paused() && c.live.revision == c.good.revision)
		if c.good.known() && c.in.Live != nil && keepsGood {
			c.target = c.good
		}
		if c.in.Live != nil && c.live.revision == c.target.revision {
			continue
		}
		c.record.Newest = c.newest()
		if c.target.revision == c.wanted.revision {
			c.record.Youngest, c.record.Broken = c.youngest(), nil
		}
	}
}

func (d *decision) every(is func(*classRollout) bool) bool {
	for _, c := range d.classes {
		if !is(c) {
			return false
		}
	}
	return true
}
