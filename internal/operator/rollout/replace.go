package rollout

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// replace chooses the pods to delete.
func (d *driver) replace() []*corev1.Pod {
	if d.paused() {
		return nil
	}
	proved := d.proved()
	var out []*corev1.Pod
	for _, c := range d.classes {
		if c.observed() {
			broken := c.broken()
			out = append(out, broken...)
			out = append(out, c.next(d.Spec, proved, len(broken))...)
		}
	}
	return out
}

// broken returns the pods that can be replaced at once, because they serve nobody: those of other forms that do not
// work. Where the last good form does not work, the change has nothing to prove: those nodes come last.
func (c *class) broken() []*corev1.Pod {
	var out []*corev1.Pod
	for i := range c.plugins {
		p := &c.plugins[i]
		if p.broken() && !c.updated(p) && (!c.good.known() || p.revision != c.good.revision) {
			out = append(out, p.pod)
		}
	}
	return out
}

// next returns the pods of other forms that work and whose turn it is, by the names of their nodes. The broken ones that
// are replaced now take their share of what may be under way.
func (c *class) next(spec v1alpha1.Rollout, proved bool, broken int) []*corev1.Pod {
	slots := c.budget(spec.MaxUnavailable)
	var selector map[string]v1alpha1.LabelValue
	if !proved && !c.settled() {
		slots = min(slots, c.canarySlots(spec.Canary))
		selector = selectorOf(spec.Canary)
	}
	var out []*corev1.Pod
	for i := range c.plugins {
		p := &c.plugins[i]
		if len(out) < slots-broken && p.works() && !c.updated(p) && nodeclass.HasLabels(p.node.Labels, selector) {
			out = append(out, p.pod)
		}
	}
	return out
}

// budget returns how many more nodes may be without a working node plugin.
func (c *class) budget(most *intstr.IntOrString) int {
	share := ptr.Deref(most, intstr.FromString("10%"))
	allowed, err := intstr.GetScaledValueFromIntOrPercent(&share, len(c.in.Nodes), true)
	if err != nil {
		allowed = 1 // The API server lets nothing through that is neither a number nor a percentage.
	}
	return max(1, allowed) - c.underWay()
}

// underWay returns how many nodes are without a working node plugin because of the change.
func (c *class) underWay() int {
	return c.missing + c.leaving() + c.count(settling, pending, away)
}

// canaries returns how many canaries a class has, of those nodes that can prove something.
func (c *class) canaries(canary *v1alpha1.Canary) int {
	able := c.missing + c.leaving() + c.working() + c.count(healthy, settling, pending, failing, away)
	if canary == nil {
		return min(1, able)
	}
	return min(int(ptr.Deref(canary.Nodes, 0)), able)
}

func (c *class) canarySlots(canary *v1alpha1.Canary) int {
	if selectorOf(canary) != nil {
		return len(c.plugins)
	}
	return c.canaries(canary) - c.underWay() - c.count(healthy, failing)
}

// proved says that the class's canaries work with the wanted form, or that it has nothing to lose.
func (c *class) proved(canary *v1alpha1.Canary) bool {
	if c.settled() || !c.good.known() && c.working() == 0 {
		return true
	}
	selector := selectorOf(canary)
	if selector == nil {
		return c.count(healthy) >= c.canaries(canary)
	}
	for i := range c.in.Nodes {
		node := &c.in.Nodes[i]
		if nodeclass.HasLabels(node.Labels, selector) && !c.provedOn(node.Name) {
			return false
		}
	}
	return true
}

// provedOn says that a canary works with the wanted form. One whose last good node plugin does not work, or that does
// not report, can prove nothing.
func (c *class) provedOn(node string) bool {
	for i := range c.plugins {
		p := &c.plugins[i]
		switch {
		case p.node.Name != node:
			continue
		case c.updated(p):
			return p.state == healthy || !c.counts(p)
		}
		return !p.works() && p.state != ending
	}
	return c.missing == 0
}

func selectorOf(canary *v1alpha1.Canary) map[string]v1alpha1.LabelValue {
	if canary == nil {
		return nil
	}
	return canary.NodeSelector
}
