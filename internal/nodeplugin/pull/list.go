package pull

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/image-csi/image-csi-operator/internal/liveview"
)

// List returns the pulls that go on or wait for their turn, the oldest first, with what the runtime reports of their downloads. It holds
// up no pull: the runtime is asked after the lock is released, and for progressTimeout in all.
func (p *Puller) List(ctx context.Context) []liveview.Pull {
	now := time.Now()
	ctx, cancel := context.WithTimeout(ctx, progressTimeout)
	defer cancel()
	var out []liveview.Pull
	for _, l := range p.listed(now) {
		if l.started != nil && !l.proof {
			l.pull.DoneBytes, l.pull.TotalBytes = p.bytesOf(ctx, l.reference, *l.started)
		}
		out = append(out, l.pull)
	}
	return out
}

// listedPull is a copy of what List needs of a flight.
type listedPull struct {
	pull      liveview.Pull
	reference string
	started   *time.Time
	proof     bool
}

// listed copies the flights that have not ended.
func (p *Puller) listed(now time.Time) []listedPull {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []listedPull
	for _, f := range p.flights {
		select {
		case <-f.ended:
			continue
		default:
		}
		l := listedPull{reference: f.key.reference, started: f.started.Load(), proof: f.proof, pull: liveview.Pull{
			ID: fmt.Sprintf("%020d", f.id), Image: f.key.image, State: liveview.PullWaiting, Pod: f.pod, Waiting: f.askers,
			Since: f.queued.UTC().Truncate(time.Second), Seconds: int64(now.Sub(f.queued).Seconds())}}
		if l.started != nil {
			l.pull.State = liveview.PullRunning
			if f.proof {
				l.pull.State = liveview.PullChecking
			}
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b listedPull) int { return cmp.Compare(a.pull.ID, b.pull.ID) })
	return out
}

// bytesOf returns how much of an image is on the node and how much there will be; nil if that is not known.
func (p *Puller) bytesOf(ctx context.Context, reference string, since time.Time) (done, total *int64) {
	d, t, known := p.progress(ctx, reference, since)
	if !known {
		return nil, nil
	}
	return &d, &t
}
