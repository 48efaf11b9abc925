package handover

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

const name = "container-image.csi.k8s.io"

// legacy is a cluster with the legacy driver alone.
func legacy(nodes ...string) Cluster {
	c := Cluster{Driver: Driver{Name: name, Names: []string{name}}, Names: []string{name}, Sets: []Set{{Namespace: "storage", Name: "nodes", Settled: true}}}
	for _, node := range nodes {
		c.Nodes = append(c.Nodes, Node{Name: node, Reports: true, Fits: true, Ours: Absent, Legacy: Ready, OursRegistered: true, LegacyRegistered: true})
	}
	return c
}

// with changes a node.
func (c Cluster) with(node string, change func(*Node)) Cluster {
	c.Nodes = slices.Clone(c.Nodes)
	for i := range c.Nodes {
		if c.Nodes[i].Name == node {
			change(&c.Nodes[i])
		}
	}
	return c
}

func text(steps []Step) (out []string) {
	for _, s := range steps {
		out = append(out, strings.TrimSpace(string(s.Kind)+" "+s.On))
	}
	return out
}

func TestThePlanOfBothWays(t *testing.T) {
	there := []string{"mark a", "mark b", "prepare storage/nodes", "create " + name, "admit a", "retire a", "admit b", "retire b", "done"}
	if diff := cmp.Diff(there, text(Plan(ToOperator, legacy("a", "b")))); diff != "" {
		t.Errorf("there (-want +got):\n%s", diff)
	}
	back := []string{"withdraw a", "return a", "withdraw b", "return b", "delete " + name, "recreate " + name, "restore storage/nodes", "unmark a", "unmark b", "done"}
	if diff := cmp.Diff(back, text(Plan(ToLegacy, run(t, ToOperator, legacy("a", "b"))))); diff != "" {
		t.Errorf("back (-want +got):\n%s", diff)
	}
}

// run goes a way to its end.
func run(t *testing.T, way Direction, c Cluster) Cluster {
	t.Helper()
	for range 100 {
		step := Next(way, c)
		switch step.Kind {
		case Wait:
			if after := settle(c); Next(way, after).String() != step.String() {
				c = after
				continue
			}
			fallthrough
		case Blocked:
			t.Fatalf("%s ends with %s", way, step)
		case Done:
			return settle(c)
		default:
		}
		c = take(c, step)
	}
	t.Fatalf("%s does not end", way)
	return c
}

// guarded fails where a node is without a driver that serves it, and no pod could be waited for.
func guarded(t *testing.T, way Direction, before, after Cluster, step Step) {
	t.Helper()
	for i, n := range after.Nodes {
		if was := before.Nodes[i]; was.Legacy == Ready && n.Legacy == Absent && n.Ours != Ready && n.Fits && (way != ToLegacy || was.Ours != Ready) {
			t.Errorf("%s: after %s node %s has no driver", way, step, n.Name)
		}
		if was := before.Nodes[i]; way == ToOperator && was.Ours == Ready && n.Ours != Ready && n.Fits && n.Legacy != Ready {
			t.Errorf("%s: after %s node %s has no driver", way, step, n.Name)
		}
	}
}

// A run is killed after each of its steps, before or after the others have acted, and the next run, on the same way or back, ends as if
// nothing had happened.
func TestARunThatIsKilledIsContinuedOnEitherWay(t *testing.T) {
	starts := map[Direction]Cluster{ToOperator: legacy("a", "b", "c"), ToLegacy: run(t, ToOperator, legacy("a", "b", "c"))}
	ends := map[Direction]Cluster{ToOperator: starts[ToLegacy], ToLegacy: run(t, ToLegacy, starts[ToLegacy])}
	if diff := cmp.Diff(starts[ToOperator], ends[ToLegacy]); diff != "" {
		t.Fatalf("there and back is not where it began (-want +got):\n%s", diff)
	}
	kills := 0
	for way, c := range starts {
		for step := Next(way, c); step.Kind != Done; step = Next(way, c) {
			before := c
			if step.Kind == Wait {
				c = settle(c)
			} else {
				c = take(c, step)
			}
			guarded(t, way, before, settle(c), step)
			for then, want := range ends {
				for _, killed := range []Cluster{c, settle(c)} {
					kills++
					if diff := cmp.Diff(want, run(t, then, killed)); diff != "" {
						t.Errorf("%s, killed after %s, then %s (-want +got):\n%s", way, step, then, diff)
					}
				}
			}
		}
	}
	if kills < 100 {
		t.Errorf("%d kills", kills)
	}
}

func TestNothingIsLeftOfAHandover(t *testing.T) {
	for _, way := range []Direction{ToOperator, ToLegacy} {
		c := run(t, way, run(t, ToOperator, legacy("a")))
		if n := c.Nodes[0]; n.Keep || n.Held {
			t.Errorf("%s: %+v", way, n)
		}
	}
}

func TestTheNextStep(t *testing.T) {
	prepared := legacy("a", "b")
	prepared.Sets = []Set{{Namespace: "storage", Name: "nodes", Settled: true, Prepared: true}}
	prepared.Driver = Driver{Name: name, Names: []string{name}, Exists: true, Managed: true}
	both := func(n *Node) { n.Keep, n.Ours = true, Ready }
	waiting := func(n *Node) { n.Keep, n.Held = true, true }
	alone := func(n *Node) { n.Legacy, n.Ours = Absent, Ready }
	state := func(change func(*Cluster)) Cluster {
		c := prepared.with("a", alone).with("b", waiting)
		change(&c)
		return c
	}
	for says, test := range map[string]struct {
		way  Direction
		seen Cluster
		want string // the kind, what it is on, and a part of why
	}{
		"the earlier node plugin serves":                     {ToOperator, prepared.with("a", alone).with("b", waiting), "admit b"},
		"not ready yet":                                      {ToOperator, prepared.with("a", alone).with("b", func(n *Node) { both(n); n.Ours = Present; n.Problem = "no image" }), "wait node b the node plugin to be ready and registered (no image)"},
		"not registered yet":                                 {ToOperator, prepared.with("a", alone).with("b", func(n *Node) { both(n); n.OursRegistered = false }), "wait node b"},
		"ready and registered":                               {ToOperator, prepared.with("a", alone).with("b", both), "retire b"},
		"the legacy driver ends":                             {ToOperator, prepared.with("a", alone).with("b", func(n *Node) { n.Legacy, n.Ours = Present, Ready }), "wait node b the legacy driver's pod to end"},
		"the end took the registration":                      {ToOperator, prepared.with("a", alone).with("b", func(n *Node) { alone(n); n.OursRegistered = false }), "wait node b"},
		"one node that fails holds up the next":              {ToOperator, prepared.with("a", func(n *Node) { alone(n); n.Ours = Present }).with("b", waiting), "wait node a"},
		"a node that does not report holds up none":          {ToOperator, prepared.with("a", func(n *Node) { waiting(n); n.Reports = false }).with("b", waiting), "admit b"},
		"a node that is excluded keeps the legacy driver":    {ToOperator, prepared.with("a", func(n *Node) { n.Keep, n.Excluded = true, true }).with("b", alone), "done  a: it has the label imagecsi.dev/exclude"},
		"a node of another runtime":                          {ToOperator, prepared.with("a", func(n *Node) { n.Keep, n.Why = true, "docker" }).with("b", alone), "done  a: docker"},
		"somebody has put the DaemonSet back":                {ToOperator, state(func(c *Cluster) { c.Sets = legacy().Sets; *c = c.with("a", func(n *Node) { n.Legacy = Ready }) }), "mark a"},
		"the DaemonSet controller lags":                      {ToOperator, state(func(c *Cluster) { c.Sets = []Set{{Namespace: "s", Name: "n"}} }), "wait DaemonSet s/n"},
		"the second of two DaemonSets":                       {ToOperator, state(func(c *Cluster) { c.Sets = append(slices.Clone(c.Sets), Set{Namespace: "s", Name: "n", Settled: true}) }), "prepare s/n"},
		"the legacy driver was removed half way":             {ToOperator, state(func(c *Cluster) { c.Sets = nil }), "unmark b"},
		"a driver that ends":                                 {ToOperator, state(func(c *Cluster) { c.Driver.Ending = true }), "wait ImageCSIDriver " + name},
		"a driver that is not managed":                       {ToOperator, state(func(c *Cluster) { c.Driver.Managed = false }), "blocked  spec.managementState"},
		"a name that the driver lacks":                       {ToOperator, state(func(c *Cluster) { c.Names = append(slices.Clone(c.Names), "other") }), "blocked  does not serve other"},
		"a driver that cannot be created":                    {ToOperator, state(func(c *Cluster) { c.Driver.Exists, c.Driver.Unready = false, "copy the secret" }), "blocked  copy the secret"},
		"back: a pod uses a volume":                          {ToLegacy, prepared.with("a", func(n *Node) { alone(n); n.Held, n.Problem = true, "pod x" }).with("b", waiting), "wait node a the node plugin to leave, which it does when no pod uses a volume there; drain the node (pod x)"},
		"back: the node plugin has left":                     {ToLegacy, prepared.with("a", func(n *Node) { n.Held, n.Legacy = true, Absent }).with("b", waiting), "return a"},
		"back: the legacy driver starts":                     {ToLegacy, prepared.with("a", func(n *Node) { waiting(n); n.Legacy = Present }).with("b", waiting), "wait node a the legacy driver to be ready"},
		"back: the legacy driver does not fit":               {ToLegacy, prepared.with("a", func(n *Node) { n.Held, n.Legacy, n.Fits = true, Absent, false }).with("b", waiting), "delete " + name},
		"back: a node plugin leaves a node that is far away": {ToLegacy, prepared.with("a", func(n *Node) { alone(n); n.Held, n.Reports = true, false }).with("b", alone), "withdraw b"},
		"back: a node of neither":                            {ToLegacy, prepared.with("a", func(n *Node) { n.Legacy, n.Why, n.Fits = Absent, "docker", false }).with("b", waiting), "delete " + name},
		"back: a node plugin that fails beside the other":    {ToLegacy, prepared.with("a", func(n *Node) { n.Keep, n.Held, n.Ours = true, true, Present }).with("b", waiting), "wait node a the node plugin, which does not work, to leave"},
		"back: nothing to go back to":                        {ToLegacy, state(func(c *Cluster) { c.Sets = nil }), "blocked  there is no DaemonSet"},
		"back: the operator removes the driver":              {ToLegacy, state(func(c *Cluster) { c.Driver.Ending = true }), "wait ImageCSIDriver " + name},
		"back: a driver that is not managed":                 {ToLegacy, state(func(c *Cluster) { c.Driver.Managed = false }), "blocked  spec.managementState"},
		"back: a driver that was applied without a handover": {ToLegacy, state(func(c *Cluster) { c.Sets = legacy().Sets; *c = c.with("a", func(n *Node) { n.Legacy = Ready }) }), "prepare storage/nodes"},
		"back: a CSIDriver object is lost":                   {ToLegacy, state(func(c *Cluster) { c.Driver.Exists, c.Lost = false, []string{"x"} }), "recreate x"},
	} {
		step := Next(test.way, test.seen)
		got := fmt.Sprintf("%s %s %s", step.Kind, step.On, step.Why)
		for _, left := range step.Left {
			got += fmt.Sprintf(" %s: %s", left.Node, left.Why)
		}
		want := strings.SplitN(test.want, " ", 3)
		if part := want[len(want)-1]; string(step.Kind) != want[0] || !strings.Contains(got, part) {
			t.Errorf("%s: %q, want %q", says, got, test.want)
		}
	}
}

// Where a node plugin does not work, the legacy driver's pod stays beside it on the way back.
func TestTheLabelsOfAStep(t *testing.T) {
	keep, held := Keep, Held
	for says, test := range map[string]struct {
		kind Kind
		node Node
		want map[string]*string
	}{
		"a node with the legacy driver alone":  {Mark, Node{Ours: Absent}, map[string]*string{KeepLabel: &keep, contract.ExcludeLabel: &held}},
		"a node with both":                     {Mark, Node{Ours: Present}, map[string]*string{KeepLabel: &keep}},
		"an excluded node":                     {Mark, Node{Ours: Absent, Excluded: true}, map[string]*string{KeepLabel: &keep}},
		"a node that cannot have ours":         {Mark, Node{Ours: Absent, Why: "docker"}, map[string]*string{KeepLabel: &keep}},
		"both, and ours works":                 {Withdraw, Node{Ours: Ready, OursRegistered: true, Keep: true}, map[string]*string{KeepLabel: nil, contract.ExcludeLabel: &held}},
		"both, and ours fails":                 {Withdraw, Node{Ours: Present, Keep: true}, map[string]*string{contract.ExcludeLabel: &held}},
		"the labels of others are not touched": {Unmark, Node{Keep: true, Excluded: true}, map[string]*string{KeepLabel: nil}},
		"no step of a node":                    {Create, Node{}, nil},
	} {
		if diff := cmp.Diff(test.want, Labels(Step{Kind: test.kind}, test.node)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", says, diff)
		}
	}
}

func TestAPlanIsShortForManyNodes(t *testing.T) {
	var nodes []string
	for i := range 100 {
		nodes = append(nodes, fmt.Sprintf("n%03d", i))
	}
	lines := Describe(Plan(ToOperator, legacy(nodes...)))
	if len(lines) != 6 || !strings.HasPrefix(lines[3], "node n000, n001, ") || !strings.Contains(lines[3], "n019, 80 more: gets a node plugin") {
		t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
}
