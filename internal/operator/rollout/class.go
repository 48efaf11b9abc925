package rollout

import (
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
)

// class is a node class and the forms of its node plugin.
type class struct {
	in     *Class
	record record
	// wanted is what the spec asks for, good what worked last, live what the DaemonSet has, target what it gets.
	wanted, good, live, target form
	// plugins by node name, at most one for each node.
	plugins []plugin
	// missing is the number of nodes whose node plugin is about to be created.
	missing int
	// deadline of the spec.
	deadline time.Duration
}

func evaluate(in Input, c *Class) (*class, error) {
	out := &class{in: c, deadline: Deadline(in.Spec)}
	var err error
	if out.wanted, err = stamped(&c.Rendered.Spec.Template); err != nil {
		return nil, err
	}
	if c.Live != nil {
		if err := out.recall(c.Live); err != nil {
			return nil, err
		}
	}
	out.plugins = plugins(in, c, out.wanted.revision)
	if c.Live != nil {
		out.missing = max(0, int(c.Live.Status.DesiredNumberScheduled)-len(out.plugins))
	}
	return out, nil
}

// recall reads what the DaemonSet has and remembers. What runs when the operator meets a DaemonSet of an earlier release
// is good until it knows better.
func (c *class) recall(live *appsv1.DaemonSet) error {
	c.live = formOf(&live.Spec.Template)
	record, known, err := readRecord(live)
	if err != nil {
		return err
	}
	if !known && c.live.revision != c.wanted.revision {
		record.Good = live.Spec.Template.DeepCopy()
	}
	c.record, c.good = record, formOf(record.Good)
	return nil
}

// plugins finds the pod of every node. A node that is to get a new one may have two for a moment; the older one counts.
func plugins(in Input, c *Class, wanted string) []plugin {
	nodes := make(map[string]*Node, len(c.Nodes))
	for i := range c.Nodes {
		nodes[c.Nodes[i].Name] = &c.Nodes[i]
	}
	oldest := make(map[string]*corev1.Pod, len(c.Pods))
	for _, pod := range c.Pods {
		node := pluginpod.NodeOf(pod)
		if other := oldest[node]; other == nil || older(pod, other) {
			oldest[node] = pod
		}
	}
	out := make([]plugin, 0, len(oldest))
	for name, pod := range oldest {
		if node := nodes[name]; node != nil {
			out = append(out, examine(in, node, pod, wanted))
		}
	}
	slices.SortFunc(out, func(a, b plugin) int { return strings.Compare(a.node.Name, b.node.Name) })
	return out
}

func older(a, b *corev1.Pod) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Name < b.Name
}

// updated says that a node plugin has the target form.
func (c *class) updated(p *plugin) bool { return p.revision == c.target.revision }

// counts says that a node plugin tells something about the change. On a node that joined since the change began it does
// not: nothing worked there before.
func (c *class) counts(p *plugin) bool {
	return c.record.Youngest.IsZero() || !p.node.Joined.After(c.record.Youngest)
}

// youngest returns when the last of the class's nodes joined.
func (c *class) youngest() time.Time {
	var last time.Time
	for i := range c.in.Nodes {
		if joined := c.in.Nodes[i].Joined; joined.After(last) {
			last = joined
		}
	}
	return last
}

// count returns how many node plugins have the target form and a state.
func (c *class) count(states ...state) int {
	n := 0
	for i := range c.plugins {
		p := &c.plugins[i]
		if c.updated(p) && slices.Contains(states, p.state) && c.counts(p) {
			n++
		}
	}
	return n
}

// working returns how many node plugins of another form work.
func (c *class) working() int {
	n := 0
	for i := range c.plugins {
		if !c.updated(&c.plugins[i]) && c.plugins[i].works() {
			n++
		}
	}
	return n
}

// leaving returns how many pods are being deleted on nodes that report.
func (c *class) leaving() int {
	n := 0
	for i := range c.plugins {
		if c.plugins[i].state == ending {
			n++
		}
	}
	return n
}

// observed says that the DaemonSet controller makes new pods in the target form.
func (c *class) observed() bool {
	live := c.in.Live
	return live != nil && c.live.revision == c.target.revision && live.Status.ObservedGeneration == live.Generation &&
		live.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
}

// settled says that nothing is to be proved any more: the target is the last good form.
func (c *class) settled() bool { return c.good.known() && c.target.revision == c.good.revision }

// protects says that something that works is at stake.
func (c *class) protects() bool { return !c.settled() && c.working() > 0 }

// arrived says that the wanted form is on every node on which another one worked, and works there. Nodes that do not
// report are not waited for, nor, without a form to return to, those on which the first one fails.
func (c *class) arrived() bool {
	return c.observed() && c.target.revision == c.wanted.revision &&
		c.working() == 0 && c.leaving() == 0 && c.missing == 0 &&
		c.count(settling, pending) == 0 && (c.count(failing) == 0 || !c.good.known() || c.settled())
}

// failed finds the first node on which the wanted form fails, if there is a form to return to.
func (c *class) failed(generation int64) *failure {
	if !c.good.known() || c.good.revision == c.wanted.revision || c.live.revision != c.wanted.revision {
		return nil
	}
	for i := range c.plugins {
		p := &c.plugins[i]
		if p.state != failing || p.revision != c.wanted.revision || !c.counts(p) {
			continue
		}
		reason, message := p.words(c.deadline)
		return &failure{Generation: generation, RolloutFailure: v1alpha1.RolloutFailure{
			Revision: p.revision, Node: p.node.Name, Reason: reason, Message: message}}
	}
	return nil
}
