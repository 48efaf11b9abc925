package handover

import (
	"fmt"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Plan returns the steps that a run takes if everything it waits for happens, the last one included.
func Plan(way Direction, c Cluster) []Step {
	var steps []Step
	for {
		step := Next(way, c)
		if step.Kind == Wait {
			c = settle(c)
			step = Next(way, c)
		}
		if step.Ends() || step.Kind == Wait || slices.ContainsFunc(steps, func(s Step) bool { return s.Kind == step.Kind && s.On == step.On }) {
			return append(steps, step)
		}
		steps = append(steps, step)
		c = take(c, step)
	}
}

// take returns the cluster after a step, before anybody else has acted.
func take(c Cluster, step Step) Cluster {
	c.Nodes, c.Sets = slices.Clone(c.Nodes), slices.Clone(c.Sets)
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.Name == step.On {
			labels := Labels(step, *n)
			if value, set := labels[KeepLabel]; set {
				n.Keep = value != nil
			}
			if value, set := labels[contract.ExcludeLabel]; set {
				n.Held = value != nil
			}
		}
	}
	for i := range c.Sets {
		if set := &c.Sets[i]; set.String() == step.On {
			set.Prepared, set.Settled = step.Kind == Prepare, step.Kind != Prepare && set.Settled
		}
	}
	switch step.Kind {
	case Create:
		c.Driver.Exists, c.Driver.Managed = true, true
	case Delete:
		c.Driver.Ending = true
	case Recreate:
		c.Lost = c.Lost[1:]
		if len(c.Lost) == 0 {
			c.Lost = nil
		}
	default:
	}
	return c
}

// settle returns the cluster after the operator, the DaemonSet controller and the kubelets have done all that they can. No pod uses a
// volume.
func settle(c Cluster) Cluster {
	c.Nodes, c.Sets = slices.Clone(c.Nodes), slices.Clone(c.Sets)
	for i := range c.Sets {
		c.Sets[i].Settled = true
	}
	if c.Driver.Exists && c.Driver.Ending {
		c.Driver.Exists, c.Driver.Ending, c.Driver.Managed, c.Lost = false, false, false, slices.Clone(c.Names)
	}
	if c.Driver.Exists {
		c.Lost = nil // The operator applies them.
	}
	prepared := slices.ContainsFunc(c.Sets, func(s Set) bool { return s.Prepared })
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if !n.Reports {
			continue
		}
		n.Ours, n.Legacy = Absent, Absent
		if c.Driver.Exists && n.Why == "" && !n.away() {
			n.Ours = Ready
		}
		if len(c.Sets) > 0 && n.Fits && (n.Keep || !prepared) {
			n.Legacy = Ready
		}
		n.OursRegistered, n.LegacyRegistered = n.Ours == Ready || n.Legacy == Ready, n.Ours == Ready || n.Legacy == Ready
	}
	return c
}

// shown is how many nodes of a step are named.
const shown = 20

// Describe is a plan for people: a line for steps of one kind.
func Describe(steps []Step) (lines []string) {
	for i, step := range steps {
		if slices.ContainsFunc(steps[:i], func(s Step) bool { return s.Kind == step.Kind }) {
			continue
		}
		var on []string
		for _, other := range steps[i:] {
			if other.Kind == step.Kind {
				on = append(on, other.On)
			}
		}
		if more := len(on) - shown; more > 0 {
			on = append(on[:shown], fmt.Sprintf("%d more", more))
		}
		step.On = strings.Join(on, ", ")
		lines = append(lines, step.String())
	}
	return lines
}
