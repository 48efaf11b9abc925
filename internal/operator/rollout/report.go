package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// status tells how far the rollout is.
func (d *driver) status() *v1alpha1.RolloutStatus {
	out := &v1alpha1.RolloutStatus{Phase: d.phase(), Failure: d.failure}
	for _, c := range d.classes {
		out.Nodes += int32(len(c.plugins) + c.in.Quiet)
		out.Updated += int32(c.in.Quiet)
		for i := range c.plugins {
			p := &c.plugins[i]
			if p.revision == c.wanted.revision {
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

// inQuestion says that a node plugin is being replaced or has to prove itself.
func (c *class) inQuestion(p *plugin) bool {
	return p.state == ending || c.updated(p) && c.counts(p) && p.state != healthy
}

func (d *driver) phase() v1alpha1.RolloutPhase {
	done := d.every(func(c *class) bool { return c.settled() || c.arrived() })
	switch {
	case d.failure != nil && d.every((*class).returned):
		return v1alpha1.PhaseReturned
	case d.paused() && (!done || d.failure != nil || d.held()):
		return v1alpha1.PhasePaused
	case d.failure != nil:
		return v1alpha1.PhaseReturning
	case done:
		return v1alpha1.PhaseComplete
	case !d.proved():
		return v1alpha1.PhaseCanary
	}
	return v1alpha1.PhaseUpdating
}

// held says that a change has not begun.
func (d *driver) held() bool {
	return !d.every(func(c *class) bool { return c.target.revision == c.wanted.revision })
}

// returned says that no node plugin of a form that was taken back is left where the node reports.
func (c *class) returned() bool {
	return !c.good.known() || c.observed() && !slices.ContainsFunc(c.plugins, func(p plugin) bool {
		return !c.updated(&p) && p.state != away
	})
}

func (d *driver) message(s *v1alpha1.RolloutStatus) string {
	progress := fmt.Sprintf("%d of %d nodes have the node plugin that the spec asks for", s.Updated, s.Nodes)
	if s.Nodes == 1 {
		progress = fmt.Sprintf("%d of 1 node has the node plugin that the spec asks for", s.Updated)
	}
	switch s.Phase {
	case v1alpha1.PhaseComplete:
		return "Every change has reached the nodes."
	case v1alpha1.PhasePaused:
		return "spec.rollout.state is Paused: " + progress + "."
	case v1alpha1.PhaseReturning:
		return fmt.Sprintf("The change failed on node %s and is being taken back: %s.", s.Failure.Node, progress)
	case v1alpha1.PhaseReturned:
		return fmt.Sprintf("The change failed on node %s and was taken back. Any change of the spec tries again.", s.Failure.Node)
	case v1alpha1.PhaseCanary:
		if d.lacksCanaries() {
			return "spec.rollout.canary.nodeSelector selects no node of the driver, so the change cannot begin. Label a node, or change the selector."
		}
		return "The canary nodes have to prove the change: " + progress + waitsFor(s.Updating) + "."
	}
	return "The change is on its way: " + progress + waitsFor(s.Updating) + "."
}

func waitsFor(nodes []string) string {
	const most = 3
	if len(nodes) == 0 {
		return ""
	}
	if len(nodes) > most {
		nodes = append(slices.Clone(nodes[:most]), "others")
	}
	return "; waiting for " + strings.Join(nodes, ", ")
}

// rests says that nothing is replaced in a class, nor has to prove itself.
func (d *driver) rests(c *class) bool { return c.settled() && c.working() == 0 && d.failure == nil }

// seen returns what to remember until the next decision.
func (d *driver) seen() Sightings {
	if d.every(d.rests) {
		return nil
	}
	out := Sightings{}
	for _, c := range d.classes {
		for i := range c.plugins {
			if p := &c.plugins[i]; p.sighting != nil {
				out[p.pod.UID] = *p.sighting
			}
		}
	}
	return out
}

// next returns when time alone changes something.
func (d *driver) next() time.Duration {
	var out time.Duration
	if d.paused() {
		return 0
	}
	for _, c := range d.classes {
		if d.rests(c) {
			continue
		}
		for i := range c.plugins {
			p := &c.plugins[i]
			if c.updated(p) && c.counts(p) && p.wait > 0 && (out == 0 || p.wait < out) {
				out = p.wait
			}
		}
	}
	return out
}
