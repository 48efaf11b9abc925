package rollout

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// arrange finds the stage of every class.
func (d *decision) arrange() {
	for _, c := range d.classes {
		switch {
		case c.targetIsGood() && d.failure != nil && c.good.revision != c.wanted.revision:
			c.stage = rollback
		case c.targetIsGood():
			c.stage = proven
		case c.good.known():
			c.stage = canary
		default:
			c.stage = installing
		}
	}
	d.canariesProved = d.every(func(c *classRollout) bool { return c.canariesWork(d.Spec.Canary) }) && !d.lacksCanaries()
	for _, c := range d.classes {
		if c.stage == canary && d.canariesProved {
			c.stage = spreading
		}
	}
}

// promote makes the wanted form the last good one as soon as it works in every class that has nodes, and no node is left
// that could speak against it. A class in which nothing has worked so far has nothing to lose, and holds up no other.
func (d *decision) promote() {
	if d.failure != nil {
		return
	}
	for _, c := range d.classes {
		exempt := len(c.in.Nodes) == 0 || !c.good.known()
		if !c.targetIsGood() && (!c.decided(d.Spec) || (!exempt && !c.hasEvidence(d.Spec.Canary))) {
			return
		}
	}
	for _, c := range d.classes {
		if !c.targetIsGood() && c.hasEvidence(d.Spec.Canary) {
			c.good = c.wanted
			c.record.Good = c.wanted.template
		}
	}
}

// decided reports whether the wanted form is on every node on which it can be. Nodes that have not reported for long are not
// waited for, unless they are more than a change may leave without a node plugin: then too few are left to tell.
func (c *classRollout) decided(spec v1alpha1.Rollout) bool {
	return c.observed() && c.target.revision == c.wanted.revision &&
		c.number(starting, fails, holds, turn, first, atOnce) == 0 && !c.tooFewReport(spec)
}

func (c *classRollout) tooFewReport(spec v1alpha1.Rollout) bool {
	return c.good.known() && len(c.unheard()) > c.share(spec.MaxUnavailable)
}

// unheard returns the nodes that do not report, but for those that joined since the change began.
func (c *classRollout) unheard() []*plugin {
	var out []*plugin
	for i := range c.plugins {
		if p := &c.plugins[i]; p.unheard() && c.wasThere(p) {
			out = append(out, p)
		}
	}
	return out
}

// hasEvidence reports whether the target form works on as many nodes as there are canaries, and at least on one.
func (c *classRollout) hasEvidence(spec *v1alpha1.Canary) bool {
	need := 1
	if c.good.known() {
		need = max(1, c.canaries(spec))
	}
	return c.number(proves) >= need
}

// share is how many nodes may be without a working node plugin.
func (c *classRollout) share(most *intstr.IntOrString) int {
	given := ptr.Deref(most, intstr.FromString("10%"))
	allowed, err := intstr.GetScaledValueFromIntOrPercent(&given, len(c.in.Nodes), true)
	if err != nil {
		return 1 // The API server lets nothing through that is neither a number nor a percentage.
	}
	return max(1, allowed)
}

// busy returns how many nodes are without a working node plugin because of the change.
func (c *classRollout) busy() int { return c.number(starting, silent, fails, blocks, stops) }

// canaries returns how many canaries a class has, of those nodes that can prove something.
func (c *classRollout) canaries(spec *v1alpha1.Canary) int {
	able := c.busy() + c.number(turn, first, holds) + c.provedBefore()
	if spec == nil {
		return min(1, able)
	}
	return min(int(ptr.Deref(spec.Nodes, 0)), able)
}

// provedBefore returns on how many nodes the target form works in place of another one. Only these are canaries.
func (c *classRollout) provedBefore() int {
	n := 0
	for _, p := range c.having(proves) {
		if c.kindOf(p) != joined {
			n++
		}
	}
	return n
}

// canariesWork reports whether the class's canaries work with the wanted form, or whether it has nothing to lose.
func (c *classRollout) canariesWork(spec *v1alpha1.Canary) bool {
	if c.targetIsGood() || (!c.good.known() && c.othersWorking() == 0) {
		return true
	}
	if selector := selectorOf(spec); selector != nil {
		return c.provedOn(selector)
	}
	return c.provedBefore() >= c.canaries(spec)
}

// provedOn reports whether the change works on the nodes that a selector makes canaries, as far as they can tell: on one of
// them at least, if there is any.
func (c *classRollout) provedOn(selector map[string]v1alpha1.LabelValue) bool {
	selected, works := false, false
	for i := range c.in.Nodes {
		selected = selected || nodeclass.HasLabels(c.in.Nodes[i].Labels, selector)
	}
	for i := range c.plugins {
		p := &c.plugins[i]
		if !nodeclass.HasLabels(p.node.Labels, selector) {
			continue
		}
		switch c.action(p) {
		case proves:
			works = true
		case starting, silent, fails, blocks, holds, turn, first:
			return false
		default:
		}
	}
	return works || !selected
}

func selectorOf(spec *v1alpha1.Canary) map[string]v1alpha1.LabelValue {
	if spec == nil {
		return nil
	}
	return spec.NodeSelector
}

// lacksCanaries reports whether the canaries' selector selects no node where there is something to change.
func (d *decision) lacksCanaries() bool {
	selector := selectorOf(d.Spec.Canary)
	if selector == nil || d.failure != nil || !slices.ContainsFunc(d.classes, (*classRollout).protects) {
		return false
	}
	for _, c := range d.classes {
		for i := range c.in.Nodes {
			if nodeclass.HasLabels(c.in.Nodes[i].Labels, selector) {
				return false
			}
		}
	}
	return true
}
