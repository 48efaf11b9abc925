package volume

import (
	"context"
	"errors"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// ErrNoLimit says that a volume asks for a size limit that nothing on this node can enforce.
var ErrNoLimit = errors.New("its size cannot be limited on this node")

// limit has the kernel hold what a writable volume's directory takes to the volume's size limit.
func (n *Node) limit(ctx context.Context, dir directory, r Request) error {
	err := n.mounter.Limit(ctx, hostmount.Limit{
		Dirs: []string{dir.upper(), dir.work()}, Bytes: r.SizeLimit, Key: directoryName(r.VolumeID, r.Target),
	})
	size := resource.NewQuantity(r.SizeLimit, resource.BinarySI)
	if errors.Is(err, hostmount.ErrNoQuota) {
		return fmt.Errorf("volume %q asks for a limit of %s, and %w: mount the file system of %s with project quotas "+
			"(mount option prjquota, on ext4 after tune2fs -O project,quota -Q prjquota), or publish it without a limit: %w",
			r.VolumeID, size, ErrNoLimit, n.data.root, err)
	}
	if err != nil {
		return fmt.Errorf("limiting volume %q to %s: %w", r.VolumeID, size, err)
	}
	n.log.Info("limited a volume by a project quota", "volume", r.VolumeID, "target", r.Target, "limit", size.String())
	return nil
}

// limitAgain sets the limit of a volume that the pod had already, which may be another one since the driver's default
// changed. Data written without a limit cannot get one, because it does not count, and a limit is never taken away.
func (n *Node) limitAgain(ctx context.Context, dir directory, r Request) error {
	if r.SizeLimit == 0 {
		return nil
	}
	if _, _, limited, err := n.mounter.Limited(ctx, dir.upper()); err == nil && !limited {
		n.log.Warn("a volume was written without a size limit and stays without one", "volume", r.VolumeID, "target", r.Target)
		return nil
	}
	return n.limit(ctx, dir, r)
}

// discard removes a directory of the data, and its limit first: nobody writes there any more, and a process that is
// killed in between leaves a directory that a sweep discards again.
func (n *Node) discard(ctx context.Context, dir directory) error {
	return errors.Join(n.mounter.Unlimit(ctx, dir.upper()), os.RemoveAll(string(dir)))
}
