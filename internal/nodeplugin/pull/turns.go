package pull

import (
	"context"
	"slices"
	"sync"
)

// turns lets a number of pulls run at a time. Their owners take turns, each with its oldest pull first, so that a pod with fifty
// images holds up others no longer than a pod with one.
type turns struct {
	mu      sync.Mutex
	free    int
	order   []string                   // owners that wait, the next one first
	waiting map[string][]chan struct{} // by owner; closed when it is that pull's turn
}

func newTurns(parallel int) *turns {
	return &turns{free: parallel, waiting: map[string][]chan struct{}{}}
}

// take waits for a turn, which the caller has to give back. If ctx ends first, it returns the error of ctx.
func (t *turns) take(ctx context.Context, who string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	turn := t.queue(who)
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	if !t.leave(who, turn) {
		t.give() // it came at the same moment
	}
	return ctx.Err()
}

// queue returns a channel that is closed when it is the pull's turn.
func (t *turns) queue(who string) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	turn := make(chan struct{})
	if t.free > 0 {
		t.free--
		close(turn)
		return turn
	}
	if len(t.waiting[who]) == 0 {
		t.order = append(t.order, who)
	}
	t.waiting[who] = append(t.waiting[who], turn)
	return turn
}

// give passes a turn on to the next owner.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) == 0 {
		t.free++
		return
	}
	who := t.order[0]
	t.order = t.order[1:]
	next := t.waiting[who]
	close(next[0])
	if t.keep(who, next[1:]) {
		t.order = append(t.order, who)
	}
}

// leave removes a pull from the queue, and returns false if it is no longer there.
func (t *turns) leave(who string, turn chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting[who], turn)
	if i < 0 {
		return false
	}
	if !t.keep(who, slices.Delete(t.waiting[who], i, i+1)) {
		t.order = slices.DeleteFunc(t.order, func(other string) bool { return other == who })
	}
	return true
}

// keep records the pulls that still wait for an owner, and reports whether there are any. It needs t.mu.
func (t *turns) keep(who string, waiting []chan struct{}) bool {
	if len(waiting) == 0 {
		delete(t.waiting, who)
		return false
	}
	t.waiting[who] = waiting
	return true
}
