package rollout

import "slices"

// stage of a class's rollout.
type stage int

const (
	installing stage = iota // no form of the node plugin has worked yet, so there is none to go back to
	canary                  // the canaries have to prove the change
	spreading               // they have, and the other nodes get it
	proven                  // the target is the last good form
	rollback                // the change has failed, and the last good form comes back
	stages
)

// kind of node, by the form of its node plugin and by what that form can tell.
type kind int

const (
	changed   kind = iota // has the target form, in place of another one
	joined                // has the target form, and joined since the change began: nothing worked there before
	broken                // has the target form, in place of one that failed there, too
	untouched             // has the target form, and had it before the DaemonSet's template last changed
	earlier               // has the last good form, which is not the target
	stray                 // has neither
	kinds
)

// action is what a node plugin means for the rollout, and what is done with it.
type action int

const (
	ignore   action = iota // proves nothing
	proves                 // is evidence that the target form works
	starting               // takes a share of the budget; nothing becomes good before it is decided
	silent                 // takes a share of the budget, because its node may be down by the change
	blocks                 // takes a share of the budget for as long as it fails
	fails                  // shows that the change has failed
	doubts                 // shows that, unless the target form works on another node of the class
	stops                  // takes a share of the budget and stops the rollback: neither form works here
	holds                  // cannot be decided now; nothing becomes good before it is
	turn                   // is replaced when it is its turn and the budget allows
	first                  // the same, before those that work
	atOnce                 // is replaced now: it does not serve
	last                   // is replaced as a canary if no other node of the class can prove anything
)

// rules are what a node plugin means, by the kind of its node, its own state, and the stage of its class.
type rules [kinds][states][stages]action

// table has every rule of what a node plugin means, by the kind of its node, its own state, and the stage of its class. It
// stands also in docs/decisions/0030-rollout.md, and a test compares the two.
//
// What it rests on: a change becomes good by node plugins that work, never because others are absent; what may come back
// (pending, away) is not decided; what fails takes its share of maxUnavailable; and a node on which the earlier form failed
// has nothing to lose, so it costs nothing and counts only if the new form works.
func table() *rules {
	return &rules{
		//             installing, canary,   spreading, proven,  rollback
		changed: {
			healthy:  {proves, proves, proves, proves, proves},
			settling: {starting, starting, starting, starting, starting},
			pending:  {starting, starting, starting, starting, starting},
			failing:  {blocks, fails, fails, blocks, stops},
			ending:   {starting, starting, starting, starting, starting},
			away:     {silent, silent, silent, silent, silent},
			lost:     {silent, silent, silent, silent, silent},
		},
		joined: {
			healthy:  {proves, proves, proves, proves, proves},
			settling: {ignore, ignore, ignore, ignore, ignore},
			pending:  {ignore, ignore, ignore, ignore, ignore},
			failing:  {ignore, doubts, doubts, ignore, ignore},
			ending:   {ignore, ignore, ignore, ignore, ignore},
			away:     {ignore, ignore, ignore, ignore, ignore},
			lost:     {ignore, ignore, ignore, ignore, ignore},
		},
		broken: {
			healthy:  {proves, proves, proves, proves, proves},
			settling: {ignore, starting, starting, ignore, ignore},
			pending:  {ignore, starting, starting, ignore, ignore},
			failing:  {ignore, ignore, ignore, ignore, ignore},
			ending:   {ignore, starting, starting, ignore, ignore},
			away:     {ignore, ignore, ignore, ignore, ignore},
			lost:     {ignore, ignore, ignore, ignore, ignore},
		},
		untouched: {}, // It had the form before, so it proves nothing in any state.
		earlier: {
			healthy:  {ignore, turn, turn, ignore, ignore},
			settling: {ignore, turn, turn, ignore, ignore},
			pending:  {ignore, holds, holds, ignore, ignore},
			failing:  {ignore, last, last, ignore, ignore},
			ending:   {ignore, starting, starting, ignore, ignore},
			away:     {ignore, holds, holds, ignore, ignore},
			lost:     {ignore, ignore, ignore, ignore, ignore},
		},
		stray: {
			healthy:  {turn, turn, turn, turn, turn},
			settling: {turn, turn, turn, turn, turn},
			pending:  {first, first, first, first, first},
			failing:  {atOnce, atOnce, atOnce, atOnce, atOnce},
			ending:   {starting, starting, starting, starting, starting},
			away:     {ignore, holds, holds, ignore, silent},
			lost:     {ignore, ignore, ignore, ignore, ignore},
		},
	}
}

// kindOf returns what kind of node a node plugin is on.
func (c *classRollout) kindOf(p *plugin) kind {
	switch {
	case !c.updated(p) && c.good.known() && p.revision == c.good.revision:
		return earlier
	case !c.updated(p):
		return stray
	case (c.stage == proven || c.stage == rollback) && !c.madeSince(p):
		return untouched
	case !c.wasThere(p):
		return joined
	case slices.Contains(c.record.Broken, p.node.Name):
		return broken
	}
	return changed
}

// action returns what a node plugin means now.
func (c *classRollout) action(p *plugin) action { return c.rules[c.kindOf(p)][p.state][c.stage] }

// having returns the node plugins that mean one of some things.
func (c *classRollout) having(actions ...action) []*plugin {
	var out []*plugin
	for i := range c.plugins {
		if p := &c.plugins[i]; slices.Contains(actions, c.action(p)) {
			out = append(out, p)
		}
	}
	return out
}

// number of node plugins that mean one of some things.
func (c *classRollout) number(actions ...action) int {
	n := 0
	for i := range c.plugins {
		if slices.Contains(actions, c.action(&c.plugins[i])) {
			n++
		}
	}
	return n
}
