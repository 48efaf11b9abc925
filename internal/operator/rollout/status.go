package rollout

import (
	"fmt"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// status returns the progress of the rollout.
func (d *decision) status() *v1alpha1.RolloutStatus {
	out := &v1alpha1.RolloutStatus{Phase: d.phase(), Failure: d.failure}
	for _, c := range d.classes {
		out.Nodes += int32(len(c.in.Nodes) + c.in.Settled)
		out.Updated += int32(c.in.Settled)
		for i := range c.plugins {
			p := &c.plugins[i]
			if p.revision == c.wanted.revision && p.pod != nil {
				out.Updated++
			}
			if c.inQuestion(p) && out.Phase != v1alpha1.PhaseComplete {
				out.Updating = append(out.Updating, p.node.Name)
			}
		}
	}
	slices.Sort(out.Updating)
	out.Message = d.message(out)
	return out
}

// inQuestion reports whether a node plugin is being replaced or has to prove itself.
func (c *classRollout) inQuestion(p *plugin) bool {
	switch c.kindOf(p) {
	case changed, broken:
		return p.state != healthy
	default:
		return p.state == ending
	}
}

func (d *decision) phase() v1alpha1.RolloutPhase {
	done := d.every(func(c *classRollout) bool { return c.targetIsGood() || (c.decided(d.Spec) && len(c.plugins) == 0) })
	switch {
	case d.failure != nil && d.every((*classRollout).rolledBack):
		return v1alpha1.PhaseRolledBack
	case d.paused() && (!done || d.failure != nil || d.held()):
		return v1alpha1.PhasePaused
	case d.failure != nil:
		return v1alpha1.PhaseRollingBack
	case done:
		return v1alpha1.PhaseComplete
	case !d.canariesProved:
		return v1alpha1.PhaseCanary
	}
	return v1alpha1.PhaseUpdating
}

// held reports whether a change has not begun.
func (d *decision) held() bool {
	return !d.every(func(c *classRollout) bool { return c.target.revision == c.wanted.revision })
}

// rolledBack reports whether no node that reports has a node plugin of the form that failed.
func (c *classRollout) rolledBack() bool {
	return !c.good.known() || (c.observed() && !slices.ContainsFunc(c.plugins, func(p plugin) bool {
		return !c.updated(&p) && !p.unheard()
	}))
}

// stopped returns why a rollback cannot go on: the first node, by class and name, on which neither form works.
func (d *decision) stopped() string {
	for _, c := range d.classes {
		if c.stage != rollback {
			continue
		}
		if stopping := c.having(stops); len(stopping) > 0 {
			_, why := stopping[0].words(c.deadline)
			return fmt.Sprintf("The change failed on node %s, and the rollback stopped because the previous node plugin fails on node %s, too: neither works there. The other nodes keep the one that they have. The rollback goes on when the node plugin works on node %s; a change of the spec is tried at once. %s",
				d.failure.Node, stopping[0].node.Name, stopping[0].node.Name, why)
		}
	}
	return ""
}

func (d *decision) message(s *v1alpha1.RolloutStatus) string {
	progress := fmt.Sprintf("%d of %d nodes have the node plugin that the spec asks for", s.Updated, s.Nodes)
	if s.Nodes == 1 {
		progress = fmt.Sprintf("%d of 1 node has the node plugin that the spec asks for", s.Updated)
	}
	switch s.Phase {
	case v1alpha1.PhaseComplete:
		return "Every change has reached the nodes."
	case v1alpha1.PhasePaused:
		return "spec.rollout.state is Paused: " + progress + "."
	case v1alpha1.PhaseRollingBack:
		if stopped := d.stopped(); stopped != "" {
			return stopped
		}
		return fmt.Sprintf("The change failed on node %s; rolling back: %s.", s.Failure.Node, progress)
	case v1alpha1.PhaseRolledBack:
		return fmt.Sprintf("The change failed on node %s and was rolled back. Any change of the spec tries again.", s.Failure.Node)
	case v1alpha1.PhaseCanary:
		if d.lacksCanaries() {
			return "spec.rollout.canary.nodeSelector selects no node of the driver, so the change cannot begin. Label a node, or change the selector."
		}
		return "The canary nodes have to prove the change: " + progress + d.waitsFor(s) + "."
	}
	if d.every(func(c *classRollout) bool { return !c.good.known() }) {
		return "The first node plugins are starting: " + progress + d.waitsFor(s) + "."
	}
	return "The rollout is in progress: " + progress + d.waitsFor(s) + "."
}

// waitsFor names the nodes that the change waits for: those that are being replaced or, if there are none, those that do not
// report or whose earlier node plugin does not work.
func (d *decision) waitsFor(s *v1alpha1.RolloutStatus) string {
	if len(s.Updating) > 0 {
		return waitingFor(s.Updating)
	}
	var unheard, unready []string
	for _, c := range d.classes {
		if c.targetIsGood() {
			continue
		}
		for i := range c.plugins {
			switch p := &c.plugins[i]; {
			case p.unheard():
				unheard = append(unheard, p.node.Name)
			case p.state == pending || p.state == failing:
				unready = append(unready, p.node.Name)
			}
		}
	}
	slices.Sort(unheard)
	slices.Sort(unready)
	switch {
	case len(unheard) > 0:
		return waitingFor(unheard) + " (the kubelet does not report)"
	case len(unready) > 0:
		return waitingFor(unready) + ", where the previous node plugin does not work"
	}
	return ""
}

func waitingFor(nodes []string) string {
	const most = 3
	if len(nodes) == 0 {
		return ""
	}
	if len(nodes) > most {
		nodes = append(slices.Clone(nodes[:most]), "others")
	}
	return "; waiting for " + strings.Join(nodes, ", ")
}

// absent returns the nodes that have been without a pod for too long.
func (d *decision) absent() []Absent {
	var out []Absent
	for _, c := range d.classes {
		for i := range c.plugins {
			if p := &c.plugins[i]; p.absent() && p.state == failing {
				_, message := p.words(c.deadline)
				out = append(out, Absent{Node: p.node.Name, DaemonSet: p.absence.DaemonSet, Message: message})
			}
		}
	}
	return out
}
