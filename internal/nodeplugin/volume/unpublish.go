package volume

import (
	"context"
	"fmt"
)

// Unpublish takes a volume away: its mount, its target directory and, for a writable volume, its data, which lives as
// long as its pod. Unpublishing what is not there is success. The image is released later, by a sweep.
func (n *Node) Unpublish(ctx context.Context, volumeID, target string) error {
	data, err := n.detach(ctx, volumeID, target)
	if err != nil {
		return err
	}
	n.Wake()
	if data == "" {
		return nil
	}
	// Nothing refers to the data any more, so a long removal need not keep the target locked. A sweep ends it if
	// this process does not.
	if err := n.discard(ctx, data); err != nil {
		return fmt.Errorf("removing the data of volume %q: %w", volumeID, err)
	}
	return nil
}

// detach unmounts a volume and sets its data aside, and returns where the data is now; empty if there is none.
func (n *Node) detach(ctx context.Context, volumeID, target string) (directory, error) {
	unlock, err := n.targets.Lock(ctx, target)
	if err != nil {
		return "", fmt.Errorf("unpublishing volume %q: %w", volumeID, ErrInProgress)
	}
	defer unlock()
	if err := n.mounter.Unmount(ctx, target); err != nil {
		return "", fmt.Errorf("volume %q: %w", volumeID, err)
	}
	n.dropDataOfBefore(ctx, volumeID, target)
	data, err := n.data.setAside(directoryName(volumeID, target))
	if err != nil {
		return "", fmt.Errorf("setting aside the data of volume %q: %w", volumeID, err)
	}
	return data, nil
}
