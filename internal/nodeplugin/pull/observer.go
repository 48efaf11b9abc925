package pull

import "time"

// Observer is notified of pulls. Its methods return at once.
type Observer interface {
	PullQueued()  // a pull waits for its turn
	PullStarted() // it no longer waits
	PullEnded(Ended)
}

// Ended is how a pull ended.
type Ended struct {
	Image  string
	Result string        // "OK" or a Kind
	Waited time.Duration // for its turn
	Took   time.Duration // after that
	Bytes  int64         // of the image as the runtime counts them; 0 if it was not pulled or the runtime does not report them
	New    bool          // the image was not on the node before, and was pulled, even if it turned out too large

	TimedOut bool // it took Config.Timeout
	Stopped  bool // the Puller was closed
}

func (p *Puller) observe(notify func(Observer)) {
	if p.config.Observer != nil {
		notify(p.config.Observer)
	}
}

// ending describes a pull that has just ended.
func (p *Puller) ending(f *flight, now time.Time) Ended {
	end := Ended{Image: f.key.image, Result: resultOf(f.err), Waited: now.Sub(f.queued), Bytes: f.bytes, New: f.isNew, Stopped: p.ctx.Err() != nil}
	if started := f.started.Load(); started != nil {
		end.Waited, end.Took = started.Sub(f.queued), now.Sub(*started)
	}
	end.TimedOut = f.err != nil && end.Took >= p.config.Timeout
	return end
}
