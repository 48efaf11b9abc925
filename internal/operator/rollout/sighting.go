package rollout

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Sightings are what one operator remembers of node plugins: by the UIDs of their pods and, of nodes whose node plugin does
// not serve or has no pod, by the node.
//
// How long something has been so is measured by one clock, the operator's, from when it first saw it. A pod's and a
// node's own times come from the API server's and the kubelets' clocks, and any of them may be minutes off: they tell
// that something turned, not how long ago. An operator that starts measures anew.
type Sightings map[types.UID]Sighting

// Sighting is the state in which an operator has seen a node plugin.
type Sighting struct {
	// revision of the form that it has, or that its pod will have.
	revision string
	// serves reports whether the pod is ready and its node's kubelet has registered the driver; away, whether the kubelet
	// does not report.
	serves, away bool
	// turned and back are the times, in seconds and by other clocks, at which the pod's readiness and the node's reports
	// last changed: they distinguish two states that look the same.
	turned, back int64
	// since is when the operator first saw it so.
	since time.Time
}

// onNode is the key of what is remembered of a node. No UID has a slash.
func onNode(name string) types.UID { return types.UID("node/" + name) }

func (s Sightings) has(key types.UID) bool {
	_, has := s[key]
	return has
}

// look returns the earlier sighting if nothing has changed since, or else the present one.
func (s Sightings) look(key types.UID, now Sighting) *Sighting {
	if earlier, has := s[key]; has && earlier.at(now.since) == now {
		return &earlier
	}
	return &now
}

func (s Sighting) at(since time.Time) Sighting {
	s.since = since
	return s
}

// still returns since when no node plugin of a form has served on a node that reports; nil if the last one did.
func (s Sightings) still(node, revision string, back time.Time) *Sighting {
	earlier, has := s[onNode(node)]
	if !has || earlier.at(time.Time{}) != (Sighting{revision: revision, back: back.Unix()}) {
		return nil
	}
	return &earlier
}

// take remembers what a decision saw of a node plugin.
func (s Sightings) take(p *plugin) {
	if p.sighting == nil {
		return
	}
	if p.pod != nil && p.state != ending && !p.unheard() {
		s[p.pod.UID] = *p.sighting
	}
	if !p.sighting.serves {
		node := *p.sighting
		node.turned = 0
		s[onNode(p.node.Name)] = node
	}
}

// expect remembers that a node waits for a node plugin of another form from now on.
func (s Sightings) expect(p *plugin, revision string, now time.Time) {
	s[onNode(p.node.Name)] = Sighting{revision: revision, back: p.node.Back.Unix(), since: now}
}
