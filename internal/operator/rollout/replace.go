package rollout

import (
	"slices"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// replace chooses the node plugins whose pods are deleted.
func (d *decision) replace() {
	if d.paused() {
		return
	}
	for _, c := range d.classes {
		if c.observed() {
			c.chosen = d.choose(c)
		}
	}
}

// choose returns the node plugins of a class that are replaced now: those that do not serve, as many of the others as the
// budget has room for beside them, by the names of their nodes, and one that is broken if there is no other to try.
func (d *decision) choose(c *classRollout) []*plugin {
	out := c.having(atOnce)
	if c.stage == proven {
		c.note(out)
	}
	room := max(0, d.slots(c)-len(out))
	for _, what := range []action{first, turn} {
		next := d.selected(c, c.having(what))
		next = next[:min(room, len(next))]
		out, room = append(out, next...), room-len(next)
	}
	if cure := d.cure(c); len(out) == 0 && len(cure) > 0 {
		c.note(cure)
		out = cure
	}
	return slices.DeleteFunc(out, func(p *plugin) bool { return p.pod == nil })
}

// slots returns how many more nodes of a class may lose their node plugin now.
func (d *decision) slots(c *classRollout) int {
	left := c.share(d.Spec.MaxUnavailable) - c.busy()
	switch {
	case c.stage == rollback && c.number(stops) > 0:
		return 0
	case c.stage == rollback && c.number(proves) == 0:
		return min(left, 1-c.busy()) // The first one has to prove that the rollback works.
	case c.stage == installing && c.othersWorking() == 0:
		return len(c.plugins) // Nothing has ever worked.
	case c.stage != canary && (c.stage != installing || d.canariesProved):
		return left
	case selectorOf(d.Spec.Canary) != nil:
		return left
	}
	return min(left, c.canaries(d.Spec.Canary)-c.busy()-c.provedBefore())
}

// selected leaves out the nodes that cannot be canaries while only these are replaced.
func (d *decision) selected(c *classRollout, plugins []*plugin) []*plugin {
	selector := selectorOf(d.Spec.Canary)
	if d.canariesProved || (c.stage != canary && c.stage != installing) || selector == nil {
		return plugins
	}
	return slices.DeleteFunc(plugins, func(p *plugin) bool { return !nodeclass.HasLabels(p.node.Labels, selector) })
}

// cure returns canaries from among the nodes on which the last good form fails, if no other node can prove anything: the
// change may be the cure. They have nothing to lose, but each is noted, so their number is bounded.
func (d *decision) cure(c *classRollout) []*plugin {
	if c.number(starting, proves, holds, turn, first) > 0 {
		return nil
	}
	out := d.selected(c, c.having(last))
	return out[:min(len(out), max(0, maxBroken-len(c.record.Broken)), max(1, canariesAsked(d.Spec.Canary)))]
}

// canariesAsked is how many canaries the spec asks for.
func canariesAsked(spec *v1alpha1.Canary) int {
	if spec == nil || spec.Nodes == nil {
		return 1
	}
	return int(*spec.Nodes)
}

// note remembers nodes on which the earlier form fails as they get the present one.
func (c *classRollout) note(plugins []*plugin) {
	for _, p := range plugins {
		if len(c.record.Broken) < maxBroken && !slices.Contains(c.record.Broken, p.node.Name) {
			c.record.Broken = append(c.record.Broken, p.node.Name)
		}
	}
}
