package pull

import (
	"errors"
	"time"
)

// A pull outlives the call that asked for it, but only as long as calls ask for it: a pull without a call in Config.Retention is
// ended when others wait for its turn. The kubelet asks again within about two minutes, as long as the pod exists.

// ask records that one more caller waits for a pull. It needs p.mu.
func (f *flight) ask() { f.askers++ }

// leave records that a caller no longer waits.
func (p *Puller) leave(f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f.askers--
	f.left = time.Now()
}

// abandoned reports whether no call has asked for a pull for Config.Retention. It needs p.mu.
func (p *Puller) abandoned(f *flight) bool {
	return f.askers == 0 && time.Since(f.left) >= p.config.Retention
}

// errAbandoned is the cause of a pull that was ended because no call waited for it.
var errAbandoned = errors.New("no pod has asked for it for a while, and others wait")

// takeTurn waits for the turn of a pull. While it waits, it ends abandoned pulls, one at a time.
func (p *Puller) takeTurn(f *flight, who string) (give func(), err error) {
	queue := p.pulls
	if f.proof {
		queue = p.proofs
	}
	type result struct {
		give func()
		err  error
	}
	taken := make(chan result, 1)
	p.done.Go(func() {
		give, err := queue.take(f.ctx, who)
		taken <- result{give, err}
	})
	look := time.NewTicker(min(max(p.config.Retention/10, time.Millisecond), maxLookPause))
	defer look.Stop()
	for {
		select {
		case r := <-taken:
			return r.give, r.err
		case <-look.C:
			p.endAbandoned(f)
		}
	}
}

// maxLookPause is how long an abandoned pull may hold up others beyond Config.Retention.
const maxLookPause = 15 * time.Second

// endAbandoned ends the pull that has been abandoned for the longest time, among those with turns of the kind that waiting needs.
// A later call for its image begins another pull.
func (p *Puller) endAbandoned(waiting *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var longest *flight
	for _, f := range p.flights {
		select {
		case <-f.ended:
			continue
		default:
		}
		// A pull that waits itself holds up no other, and is ended only if it is this one.
		runs := f.started.Load() != nil || f == waiting
		if runs && f.proof == waiting.proof && p.abandoned(f) && (longest == nil || f.left.Before(longest.left)) {
			longest = f
		}
	}
	if longest == nil {
		return
	}
	p.config.Logger.Info("ending a pull that no pod waits for", "image", longest.key.image)
	p.forget(longest)
	longest.dropped = true
	longest.cancel()
}

// abandonment returns the error of a pull that was ended because it was abandoned, else the one that it had.
func (p *Puller) abandonment(f *flight, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil || !f.dropped {
		return err
	}
	ended := newError(Abandoned, f.key.image, nil)
	ended.cause = errAbandoned
	return ended
}
