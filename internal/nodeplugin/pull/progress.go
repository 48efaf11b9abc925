package pull

import (
	"context"
	"fmt"
	"time"
)

// progressTimeout bounds the look at the runtime's downloads, which only makes a message better.
const progressTimeout = time.Second

// Downloads are what a runtime downloads, or has left from a download. Not every runtime tells.
type Downloads interface {
	// Downloading counts the layers of all images that are under way on the node and went on since a moment, and
	// their bytes. Layers that are complete, and those that wait for their turn, are not among them.
	Downloading(ctx context.Context, since time.Time) (layers int, done, total int64, err error)

	// DiscardDownload has the runtime download anew, at the next pull, what the error of a pull says to be corrupt.
	DiscardDownload(ctx context.Context, corrupt error) error
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
	if p.config.Downloads == nil {
		// CRI has no call for it. CRI-O counts bytes in its metrics, which are off by default and add up all images.
		return "; the container runtime does not tell how far it is"
	}
	ctx, cancel := context.WithTimeout(ctx, progressTimeout)
	defer cancel()
	layers, done, total, err := p.config.Downloads.Downloading(ctx, since)
	if err != nil || layers == 0 {
		return ""
	}
	return fmt.Sprintf("; layers under way on this node: %d, with %s of %s", layers, mebibytes(done), mebibytes(total))
}

// discard keeps a corrupt download from being taken for the image by every pull to come.
func (p *Puller) discard(ctx context.Context, failed *Error) {
	if p.config.Downloads == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if err := p.config.Downloads.DiscardDownload(ctx, failed.cause); err != nil {
		p.config.Logger.Warn("the runtime holds on to a corrupt download until its garbage collection takes it",
			"image", failed.Image, "error", err)
	}
}
