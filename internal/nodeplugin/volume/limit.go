package volume

import (
	"context"
	"errors"
	"fmt"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/quantity"
)

var (
	// ErrNoLimit means that a volume asks for a size limit that nothing on this node can enforce.
	ErrNoLimit = errors.New("its size cannot be limited on this node")

	// ErrTooSmall means that a volume's size limit is smaller than its image, of which it needs a copy.
	ErrTooSmall = errors.New("its size limit has no room for its image")
)

// limit has the kernel enforce the size limit of a writable volume on its directory.
func (n *Node) limit(ctx context.Context, dir directory, r Request) error {
	err := n.mounter.Limit(ctx, hostmount.Limit{
		Work: dir.work(), Upper: dir.upper(), Bytes: r.SizeLimit,
	})
	size := quantity.Format(r.SizeLimit)
	if errors.Is(err, hostmount.ErrNoQuota) {
		inMemory := "have the driver keep such volumes in memory (spec.volumes.sizeLimitFallback: Memory), "
		if r.Form == contract.FormIDMappable {
			inMemory = "" // a copy of an image is never in memory
		}
		return fmt.Errorf("volume %q asks for a limit of %s, and %w: mount the file system of %s with project quotas "+
			"(mount option prjquota, on ext4 after tune2fs -O project,quota -Q prjquota), %sor publish it without a limit: %w",
			r.VolumeID, size, ErrNoLimit, n.data.root, inMemory, err)
	}
	if err != nil {
		return fmt.Errorf("limiting volume %q to %s: %w", r.VolumeID, size, err)
	}
	n.log.Info("limited a volume by a project quota", "volume", r.VolumeID, "target", r.Target, "limit", size)
	return nil
}

// limitAgain sets the limit of a volume that the pod had already. It may differ because the driver's default changed. Data
// that was written without a limit cannot get one, because it would not count, and a limit is never removed.
func (n *Node) limitAgain(ctx context.Context, dir directory, r Request) error {
	if r.SizeLimit == 0 {
		return nil
	}
	_, _, limited, err := n.mounter.Limited(ctx, dir.work())
	if err != nil {
		return fmt.Errorf("volume %q: %w", r.VolumeID, err)
	}
	if !limited {
		n.log.Warn("a volume was written without a size limit and stays without one", "volume", r.VolumeID, "target", r.Target)
		return nil
	}
	return n.limit(ctx, dir, r)
}
