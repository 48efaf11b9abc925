package volume

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// ErrNoLimit means that a volume asks for a size limit that nothing on this node can enforce.
var ErrNoLimit = errors.New("its size cannot be limited on this node")

// limit has the kernel enforce the size limit of a writable volume on its directory.
func (n *Node) limit(ctx context.Context, dir directory, r Request) error {
	err := n.mounter.Limit(ctx, hostmount.Limit{
		Work: dir.work(), Upper: dir.upper(), Bytes: r.SizeLimit,
	})
	size := resource.NewQuantity(r.SizeLimit, resource.BinarySI)
	if errors.Is(err, hostmount.ErrNoQuota) {
		return fmt.Errorf("volume %q asks for a limit of %s, and %w: mount the file system of %s with project quotas "+
			"(mount option prjquota, on ext4 after tune2fs -O project,quota -Q prjquota), have the driver keep such volumes in "+
			"memory (spec.volumes.sizeLimitFallback: Memory), or publish it without a limit: %w",
			r.VolumeID, size, ErrNoLimit, n.data.root, err)
	}
	if err != nil {
		return fmt.Errorf("limiting volume %q to %s: %w", r.VolumeID, size, err)
	}
	n.log.Info("limited a volume by a project quota", "volume", r.VolumeID, "target", r.Target, "limit", size.String())
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
