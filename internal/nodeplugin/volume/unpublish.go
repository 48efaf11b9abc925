package volume

import (
	"context"
	"fmt"
)

// Unpublish takes a volume away: its mount, its target directory and, for a writable volume, its data, which lives as
// long as its pod. Unpublishing what is not there is success. It is done when the data has lost its name: that is removed
// later, however much it is, and the image is released by a sweep.
func (n *Node) Unpublish(ctx context.Context, volumeID, target string) error {
	unlock, err := n.targets.Lock(ctx, target)
	if err != nil {
		return fmt.Errorf("unpublishing volume %q: %w", volumeID, ErrInProgress)
	}
	defer unlock()
	if err := n.mounter.Unmount(ctx, target); err != nil {
		return fmt.Errorf("volume %q: %w", volumeID, err)
	}
	if _, err := n.setAside(directoryName(volumeID, target)); err != nil {
		return fmt.Errorf("setting aside the data of volume %q: %w", volumeID, err)
	}
	n.dropDataOfBefore(ctx, volumeID, target)
	n.Wake()
	return nil
}
