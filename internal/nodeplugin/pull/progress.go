package pull

import (
	"context"
	"fmt"
	"time"
)

// progressTimeout bounds the look at the runtime's downloads, which only makes a message better.
const progressTimeout = time.Second

// Progress tells what a runtime downloads at this moment. Not every runtime can.
type Progress interface {
	// Downloads counts the layers of all images that are under way on the node and went on since a moment, and
	// their bytes. Layers that are complete, and those that wait for their turn, are not among them.
	Downloads(ctx context.Context, since time.Time) (layers int, done, total int64, err error)
}

// describe is the middle of a sentence about the image of a flight.
func (p *Puller) describe(ctx context.Context, f *flight) string {
	now := time.Now()
	started := f.started.Load()
	if started == nil {
		return fmt.Sprintf("waiting for other pulls on this node to end (%s elapsed)", now.Sub(f.queued).Round(time.Second))
	}
	return fmt.Sprintf("still being pulled (%s elapsed%s)", now.Sub(*started).Round(time.Second), p.downloads(ctx, *started))
}

// downloads says how far the node's downloads are. CRI does not say which of them are an image's.
func (p *Puller) downloads(ctx context.Context, since time.Time) string {
	if p.config.Progress == nil {
		// CRI has no call for it. CRI-O counts bytes in its metrics, which are off by default and add up all images.
		return "; the container runtime does not tell how far it is"
	}
	ctx, cancel := context.WithTimeout(ctx, progressTimeout)
	defer cancel()
	layers, done, total, err := p.config.Progress.Downloads(ctx, since)
	if err != nil || layers == 0 {
		return ""
	}
	return fmt.Sprintf("; layers under way on this node: %d, with %s of %s", layers, mebibytes(done), mebibytes(total))
}
