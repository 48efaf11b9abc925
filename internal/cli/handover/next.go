package handover

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// Next returns the step that comes next on the way.
func Next(way Direction, c Cluster) Step {
	if way == ToLegacy {
		return toLegacy(c)
	}
	return toOperator(c)
}

// toOperator lets each node have both drivers' pods before the legacy driver's leaves, so that none is without a driver for longer than
// the kubelet takes to register one.
func toOperator(c Cluster) Step {
	if len(c.Sets) == 0 {
		return c.unmark()
	}
	if c.Driver.Exists && c.Driver.Ending {
		return c.ending()
	}
	if why := c.refusal(); why != "" {
		return Step{Kind: Blocked, Why: why}
	}
	if step, needed := c.prepare(func(n Node) bool { return n.Legacy != Absent }); needed {
		return step
	}
	if !c.Driver.Exists {
		return Step{Kind: Create, On: c.Driver.Name}
	}
	for _, pass := range []func(Node) (Step, bool){arrives, leaves, begins} {
		for _, n := range c.Nodes {
			if step, due := pass(n); n.takes() && due {
				return step
			}
		}
	}
	return Step{Kind: Done, Left: c.left()}
}

// refusal is why a cluster cannot be handed over as it is; empty if it can.
func (c Cluster) refusal() string {
	d := c.Driver
	unserved := strings.Join(c.unserved(), ", ")
	switch {
	case d.Exists && !d.Managed:
		return fmt.Sprintf("ImageCSIDriver %s is not managed; set spec.managementState: Managed", d.Name)
	case unserved != "":
		return fmt.Sprintf("ImageCSIDriver %s does not serve %s, as the legacy driver does; add it to spec.aliases", d.Name, unserved)
	case !d.Exists:
		return d.Unready
	}
	return ""
}

func (c Cluster) ending() Step {
	return Step{Kind: Wait, On: "ImageCSIDriver " + c.Driver.Name, Why: "the operator to remove it"}
}

// prepare marks nodes, and has every DaemonSet select those that are marked.
func (c Cluster) prepare(keeps func(Node) bool) (Step, bool) {
	for _, set := range c.Sets {
		if set.Prepared {
			continue
		}
		if !set.Settled {
			return Step{Kind: Wait, On: "DaemonSet " + set.String(), Why: "not every node has its pod yet"}, true
		}
		for _, n := range c.Nodes {
			if !n.Keep && keeps(n) {
				return Step{Kind: Mark, On: n.Name}, true
			}
		}
		return Step{Kind: Prepare, On: set.String()}, true
	}
	return Step{}, false
}

// arrives waits for a node that has to do without the legacy driver.
func arrives(n Node) (Step, bool) {
	if n.Keep || n.Held || n.served() {
		return Step{}, false
	}
	why := "the node plugin to be ready and registered"
	if n.Legacy != Absent {
		why = "the legacy driver's pod to end"
	}
	return n.wait(why), true
}

// leaves lets the legacy driver's pod go once the node plugin serves.
func leaves(n Node) (Step, bool) {
	switch {
	case !n.Keep || n.Held:
		return Step{}, false
	case n.works():
		return Step{Kind: Retire, On: n.Name}, true
	default:
		return n.wait("the node plugin to be ready and registered"), true
	}
}

// begins lets a node plugin come.
func begins(n Node) (Step, bool) { return Step{Kind: Admit, On: n.Name}, n.Held }

func (n Node) wait(why string) Step {
	if n.Problem != "" {
		why += " (" + n.Problem + ")"
	}
	return Step{Kind: Wait, On: "node " + n.Name, Why: why}
}

// toLegacy has each node plugin leave before the legacy driver's pod comes back, because a legacy driver neither takes a name back
// from a node plugin nor knows its volumes. So it waits for the pods that use some.
func toLegacy(c Cluster) Step {
	d := c.Driver
	switch {
	case !d.Exists:
		return c.restore()
	case d.Ending:
		return c.ending()
	case !d.Managed:
		return Step{Kind: Blocked, Why: fmt.Sprintf("ImageCSIDriver %s is not managed, so its node plugins do not leave; set spec.managementState: Managed", d.Name)}
	case len(c.Sets) == 0:
		return Step{Kind: Blocked, Why: "there is no DaemonSet of the legacy driver to go back to; the page docs/install/migrate.md has the way back after its removal"}
	}
	if step, needed := c.prepare(func(n Node) bool { return n.Legacy != Absent && !n.works() }); needed {
		return step
	}
	for _, pass := range []func(Node) (Step, bool){empties, returns, withdraws} {
		for _, n := range c.Nodes {
			if step, due := pass(n); due {
				return step
			}
		}
	}
	return Step{Kind: Delete, On: d.Name}
}

// empties waits for the node plugin's end, and has the legacy driver's pod come. A node that does not report is left for later.
func empties(n Node) (Step, bool) {
	switch {
	case !n.away() || n.Keep || !n.Fits:
		return Step{}, false
	case n.Ours == Absent:
		return Step{Kind: Return, On: n.Name}, true
	default:
		return n.wait("the node plugin to leave, which it does when no pod uses a volume there; drain the node"), n.Reports
	}
}

// returns waits for the legacy driver's pod.
func returns(n Node) (Step, bool) {
	switch {
	case !n.away() || !n.Keep || !n.Fits || !n.Reports:
		return Step{}, false
	case n.Ours != Absent:
		return n.wait("the node plugin, which does not work, to leave; it does when no pod uses a volume there"), true
	default:
		return n.wait("the legacy driver to be ready and registered; if it is ready and stays without registration, delete its pod"), n.Legacy != Ready || !n.LegacyRegistered
	}
}

// withdraws has the node plugin leave.
func withdraws(n Node) (Step, bool) {
	return Step{Kind: Withdraw, On: n.Name}, !n.away() && (n.Why == "" || n.Ours != Absent)
}

// restore gives back what a handover has changed, when there is no ImageCSIDriver any more.
func (c Cluster) restore() Step {
	if len(c.Lost) > 0 {
		return Step{Kind: Recreate, On: c.Lost[0]}
	}
	for _, set := range c.Sets {
		if set.Prepared {
			return Step{Kind: Restore, On: set.String()}
		}
	}
	return c.unmark()
}

// unmark removes what is left of a handover from nodes.
func (c Cluster) unmark() Step {
	for _, n := range c.Nodes {
		if n.Keep || n.Held {
			return Step{Kind: Unmark, On: n.Name}
		}
	}
	return Step{Kind: Done}
}

// Labels returns the labels of a node that a step sets, and as nil those that it removes. A node whose plugin is there, or cannot
// come, is only kept when it is marked. Where a node plugin does not work, the legacy driver's pod stays beside it until it has left.
func Labels(step Step, n Node) map[string]*string {
	keep, held := Keep, Held
	switch step.Kind {
	case Mark:
		labels := map[string]*string{KeepLabel: &keep}
		if n.Ours == Absent && n.Why == "" && !n.Excluded {
			labels[contract.ExcludeLabel] = &held
		}
		return labels
	case Admit:
		return map[string]*string{contract.ExcludeLabel: nil}
	case Retire:
		return map[string]*string{KeepLabel: nil}
	case Withdraw:
		labels := map[string]*string{contract.ExcludeLabel: &held}
		if n.Keep && n.works() {
			labels[KeepLabel] = nil
		}
		return labels
	case Return:
		return map[string]*string{KeepLabel: &keep}
	case Unmark:
		labels := map[string]*string{}
		if n.Keep {
			labels[KeepLabel] = nil
		}
		if n.Held {
			labels[contract.ExcludeLabel] = nil
		}
		return labels
	default:
		return nil
	}
}

// Find returns a node by name.
func (c Cluster) Find(node string) Node {
	for _, n := range c.Nodes {
		if n.Name == node {
			return n
		}
	}
	return Node{Name: cmp.Or(node, "?")}
}
