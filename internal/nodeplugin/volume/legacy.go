package volume

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// Legacy looks after what the legacy driver left on the node; *legacy.Volumes is one.
type Legacy interface {
	// Owns reports whether the legacy driver may have made a mount. One that lies at a volume's target counts as the volume.
	Owns(m hostmount.Mount) bool

	// Publish mounts the data that the legacy driver keeps of a writable volume, and reports whether there is any. Callers hold
	// the target's lock.
	Publish(ctx context.Context, r Request) (bool, error)

	// Unpublished removes that data of a volume that was just unmounted. What fails or takes long is left to a sweep.
	Unpublished(ctx context.Context, volumeID, target string)

	// Sweep removes what no pod needs any more, given the node's mounts, and returns when to sweep again. It is not called twice
	// at once.
	Sweep(ctx context.Context, mounts []hostmount.Mount, now time.Time) (next time.Duration, err error)
}

// noLegacy is the legacy driver where there was none.
type noLegacy struct{}

func (noLegacy) Owns(hostmount.Mount) bool                      { return false }
func (noLegacy) Publish(context.Context, Request) (bool, error) { return false, nil }
func (noLegacy) Unpublished(context.Context, string, string)    {}

func (noLegacy) Sweep(context.Context, []hostmount.Mount, time.Time) (time.Duration, error) {
	return never, nil
}

// publishLegacy publishes a volume with the data that the legacy driver keeps of it, and reports whether there is any. Data of
// this driver is newer.
func (n *Node) publishLegacy(ctx context.Context, r Request) (bool, error) {
	if !r.Writable {
		return false, nil
	}
	if _, err := n.data.identify(directoryName(r.VolumeID, r.Target)); !errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return n.legacy.Publish(ctx, r)
}
