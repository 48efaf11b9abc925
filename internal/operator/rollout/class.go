package rollout

import (
	"cmp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/pluginpod"
)

// classRollout is what a decision knows of a node class: the forms of its node plugin, and what each node has.
type classRollout struct {
	in     *Class
	record record
	// wanted is what the spec asks for, good what worked last, live what the DaemonSet has, target what it gets.
	wanted, good, live, target form
	stage                      stage
	rules                      *rules
	// plugins by node name, at most one for each node; also of a node for which the DaemonSet is to make a pod.
	plugins []plugin
	// chosen are those that are replaced now.
	chosen []*plugin
	// deadline of the spec.
	deadline time.Duration
}

// evaluate returns a class with what is known of it. It counts as canary until arrange finds its stage: judge, which comes before, asks
// whether a node plugin shows that the change has failed, and in table() canary and spreading are the stages in which one can.
func evaluate(in Input, c *Class) (*classRollout, error) {
	out := &classRollout{in: c, deadline: Deadline(in.Spec), stage: canary, rules: table()}
	var err error
	if out.wanted, err = stamped(&c.Rendered.Spec.Template); err != nil {
		return nil, err
	}
	if c.Live != nil {
		if err := out.recall(c.Live); err != nil {
			return nil, err
		}
	}
	out.target = out.wanted
	out.plugins = plugins(in, c, out.wanted.revision)
	return out, nil
}

// recall reads what the DaemonSet has and remembers. What runs when the operator meets a DaemonSet of an earlier release
// is good until it knows better.
func (c *classRollout) recall(live *appsv1.DaemonSet) error {
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

// plugins finds the node plugin of every node, sorted by the nodes' names. A node that is to get a new pod may have two for
// a moment; the older one counts.
func plugins(in Input, c *Class, wanted string) []plugin {
	oldest := make(map[string]*corev1.Pod, len(c.Pods))
	for _, pod := range c.Pods {
		node := pluginpod.NodeOf(pod)
		if other := oldest[node]; other == nil || older(pod, other) {
			oldest[node] = pod
		}
	}
	out := make([]plugin, 0, len(c.Nodes))
	var without []*placement.Node
	for i := range c.Nodes {
		if node := &c.Nodes[i]; oldest[node.Name] != nil {
			out = append(out, examine(in, node, oldest[node.Name], wanted))
		} else {
			without = append(without, node)
		}
	}
	for _, node := range awaited(in, c, without, len(out)) {
		out = append(out, missed(in, node, c.Live, c.Refused))
	}
	slices.SortFunc(out, func(a, b plugin) int { return strings.Compare(a.node.Name, b.node.Name) })
	return out
}

// awaited returns those nodes without a pod for which the DaemonSet is to make one. With spec.nodePlugin.tolerations it may
// leave out some, and its status has only their number. Then the nodes that had a node plugin last count.
func awaited(in Input, c *Class, without []*placement.Node, with int) []*placement.Node {
	if c.Live == nil {
		return nil
	}
	had := func(node *placement.Node) int {
		switch {
		case in.Seen.has(onNode(node.Name)):
			return 0
		case node.Registered.Has(in.Names[0]):
			return 1
		}
		return 2
	}
	slices.SortFunc(without, func(a, b *placement.Node) int {
		return cmp.Or(cmp.Compare(had(a), had(b)), strings.Compare(a.Name, b.Name))
	})
	status := c.Live.Status
	wanted := int(status.DesiredNumberScheduled+status.NumberMisscheduled) - with - c.Settled
	return without[:min(max(0, wanted), len(without))]
}

func older(a, b *corev1.Pod) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Name < b.Name
}

// updated reports whether a node plugin has the target form.
func (c *classRollout) updated(p *plugin) bool { return p.revision == c.target.revision }

// wasThere reports whether a node was there when the change began. On one that joined since, nothing worked before.
func (c *classRollout) wasThere(p *plugin) bool {
	return c.record.Youngest.IsZero() || !p.node.CreationTimestamp.After(c.record.Youngest)
}

// madeSince reports whether a node plugin has been made, or is to be, since the DaemonSet's template last changed.
func (c *classRollout) madeSince(p *plugin) bool {
	return p.pod == nil || p.pod.CreationTimestamp.After(c.record.Newest)
}

// youngest returns when the last of the class's nodes joined.
func (c *classRollout) youngest() time.Time {
	var last time.Time
	for i := range c.in.Nodes {
		if joined := c.in.Nodes[i].CreationTimestamp.Time; joined.After(last) {
			last = joined
		}
	}
	return last
}

// newest returns when the last of the class's pods was made.
func (c *classRollout) newest() time.Time {
	var last metav1.Time
	for _, pod := range c.in.Pods {
		if last.Before(&pod.CreationTimestamp) {
			last = pod.CreationTimestamp
		}
	}
	return last.Time
}

// othersWorking returns how many node plugins of another form work.
func (c *classRollout) othersWorking() int {
	n := 0
	for i := range c.plugins {
		if !c.updated(&c.plugins[i]) && c.plugins[i].works() {
			n++
		}
	}
	return n
}

// observed reports whether the DaemonSet controller makes new pods in the target form.
func (c *classRollout) observed() bool {
	live := c.in.Live
	return live != nil && c.live.revision == c.target.revision && live.Status.ObservedGeneration == live.Generation &&
		live.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
}

// targetIsGood reports whether nothing is to be proved any more: the target is the last good form.
func (c *classRollout) targetIsGood() bool {
	return c.good.known() && c.target.revision == c.good.revision
}

// protects reports whether something that works is at stake.
func (c *classRollout) protects() bool { return !c.targetIsGood() && c.othersWorking() > 0 }

// failed finds the first node on which the wanted form fails, if there is a form to roll back to.
func (c *classRollout) failed(generation int64) *failure {
	if !c.good.known() || c.good.revision == c.wanted.revision || c.live.revision != c.wanted.revision {
		return nil
	}
	found := c.having(fails)
	if len(found) == 0 && !c.worksSomewhere() {
		found = c.having(doubts)
	}
	if len(found) == 0 {
		return nil
	}
	reason, message := found[0].words(c.deadline)
	return &failure{Generation: generation, RolloutFailure: v1alpha1.RolloutFailure{
		Revision: found[0].revision, Node: found[0].node.Name, Reason: reason, Message: message}}
}

// worksSomewhere reports whether the target form works on a node. Then one on which it fails, and nothing worked before, is
// more likely to be at fault itself.
func (c *classRollout) worksSomewhere() bool {
	return slices.ContainsFunc(c.plugins, func(p plugin) bool { return c.updated(&p) && p.works() })
}
