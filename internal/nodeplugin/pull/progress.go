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
	// Downloading tells how many bytes of the layers of an image, whose pull began at a moment, are on the node, and how
	// many there will be; 0 of 0 while its manifest is not there, or cannot be told from another's. What is done only
	// grows, unless a download begins anew.
	Downloading(ctx context.Context, image string, since time.Time) (done, total int64, err error)

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
	return fmt.Sprintf("still being pulled (%s elapsed%s)", now.Sub(*started).Round(time.Second), p.downloads(ctx, f.key.reference, *started))
}

// downloads says how far the download of an image is.
func (p *Puller) downloads(ctx context.Context, image string, since time.Time) string {
	if p.config.Downloads == nil {
		// CRI has no call for it. CRI-O counts bytes in its metrics, which are off by default and add up all images.
		return "; the container runtime does not tell how far it is"
	}
	ctx, cancel := context.WithTimeout(ctx, progressTimeout)
	defer cancel()
	done, total, err := p.config.Downloads.Downloading(ctx, image, since)
	if err != nil || done < 0 || total <= 0 || done > total {
		return "" // whoever made the image says how large its layers are
	}
	return fmt.Sprintf("; %s of %s of its layers are on this node", mebibytes(done), mebibytes(total))
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
