package pull

import (
	"context"
	"fmt"
	"time"
)

// progressTimeout bounds the look at the runtime's downloads, which only improves a message.
const progressTimeout = time.Second

// Downloads are a runtime's downloads, in progress or left behind. Not every runtime reports them.
type Downloads interface {
	// Downloading returns how many bytes of an image's layers are on the node, and how many there will be, for a pull that
	// began at a moment. It returns 0 of 0 while the manifest is not there, or cannot be distinguished from another's. The
	// number only grows, unless a download restarts.
	Downloading(ctx context.Context, image string, since time.Time) (done, total int64, err error)

	// DiscardDownload makes the runtime download again, at the next pull, what is corrupt according to a pull's error.
	DiscardDownload(ctx context.Context, corrupt error) error
}

// describe returns the middle of a sentence about the image of a flight.
func (p *Puller) describe(ctx context.Context, f *flight) string {
	now := time.Now()
	started := f.started.Load()
	if started == nil {
		return fmt.Sprintf("waiting for other pulls on this node to end (%s elapsed)", now.Sub(f.queued).Round(time.Second))
	}
	return fmt.Sprintf("still being pulled (%s elapsed%s)", now.Sub(*started).Round(time.Second), p.downloads(ctx, f.key.reference, *started))
}

// downloads returns the progress of an image's download, for a message.
func (p *Puller) downloads(ctx context.Context, image string, since time.Time) string {
	if p.config.Downloads == nil {
		// CRI has no call for it. CRI-O counts bytes in its metrics, which are off by default and add up all images.
		return "; the container runtime does not report progress"
	}
	ctx, cancel := context.WithTimeout(ctx, progressTimeout)
	defer cancel()
	done, total, known := p.progress(ctx, image, since)
	if !known {
		return ""
	}
	return fmt.Sprintf("; %s of %s of its layers are on this node", mebibytes(done), mebibytes(total))
}

// progress returns how much of an image's download is done, and reports whether that is known.
func (p *Puller) progress(ctx context.Context, image string, since time.Time) (done, total int64, known bool) {
	if p.config.Downloads == nil {
		return 0, 0, false
	}
	done, total, err := p.config.Downloads.Downloading(ctx, image, since)
	// The sizes are the image author's, and cannot be trusted.
	return done, total, err == nil && done >= 0 && total > 0 && done <= total
}

// discard keeps later pulls from using a corrupt download.
func (p *Puller) discard(ctx context.Context, failed *Error) {
	if p.config.Downloads == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if err := p.config.Downloads.DiscardDownload(ctx, failed.cause); err != nil {
		p.config.Logger.Warn("a corrupt download could not be removed; the runtime keeps it until its garbage collection",
			"image", failed.Image, "error", err)
	}
}
