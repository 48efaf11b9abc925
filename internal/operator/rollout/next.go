package rollout

import (
	"slices"
	"time"

	"github.com/image-csi/image-csi-operator/internal/operator/recheck"
)

// replacesNone reports whether no node plugin of a class that is proven is to be replaced.
func (c *classRollout) replacesNone() bool { return c.number(turn, first, atOnce) == 0 }

// rests reports whether nothing is replaced in a class, nor has to prove itself.
func (d *decision) rests(c *classRollout) bool {
	return c.stage == proven && c.replacesNone() && d.failure == nil
}

// seen returns what to remember until the next decision: while nothing rolls out, only since when nodes lack a pod.
func (d *decision) seen() Sightings {
	rest := d.every(d.rests)
	out := Sightings{}
	for _, c := range d.classes {
		for i := range c.plugins {
			if p := &c.plugins[i]; !rest || p.absent() {
				out.take(p)
			}
		}
	}
	for _, c := range d.classes {
		for _, p := range c.chosen {
			out.expect(p, c.target.revision, d.Now)
		}
	}
	if len(out) == 0 && rest {
		return nil
	}
	return out
}

// next returns when time alone changes something.
func (d *decision) next() time.Duration {
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
			decides := (c.updated(p) && c.kindOf(p) != untouched) || slices.Contains([]action{holds, first}, c.action(p))
			if decides {
				out = recheck.Sooner(out, p.wait)
			}
		}
	}
	return out
}

// recheck returns when a node has been without a pod for too long.
func (d *decision) recheck() time.Duration {
	var out time.Duration
	for _, c := range d.classes {
		for i := range c.plugins {
			if p := &c.plugins[i]; p.absent() {
				out = recheck.Sooner(out, p.wait)
			}
		}
	}
	return out
}
