package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// Stats is how much a volume holds.
type Stats struct {
	Bytes, Inodes hostmount.Capacity
}

// Problem is why a volume cannot be used: a reason for programs and a message for users.
type Problem struct {
	Reason, Message string
}

// Stats returns how much a volume holds. A read-only volume is as large as its image and full, as a file system that was
// made read-only is. A writable volume uses what the pod wrote, and the copy of its image if it has one, of its limit if it has one.
// Without a limit its files are counted; what is nested too deep, or takes too long, is not counted. A volume that another driver mounted has the figures of its
// file system. Errors: ErrNotPublished.
func (n *Node) Stats(ctx context.Context, volumeID, target string) (Stats, error) {
	stat, err := n.look(ctx, volumeID, target)
	if err != nil {
		return Stats{}, err
	}
	if stat.Mount == nil {
		return Stats{}, notPublished(volumeID, target)
	}
	stats := Stats{Bytes: stat.Bytes, Inodes: stat.Inodes}
	tree, ours := n.treeOf(*stat.Mount)
	switch {
	case !ours && !n.isCopy(*stat.Mount):
		return stats, nil
	case stat.Mount.ReadOnly:
		return n.imageStats(ctx, volumeID, tree)
	}
	dir := n.data.directory(volumeID, target)
	if dir.inMemory() {
		return stats, nil // the volume has a file system of its own
	}
	bytes, inodes, limited, err := n.mounter.Limited(ctx, dir.work())
	if err != nil || limited {
		return Stats{Bytes: bytes, Inodes: inodes}, err
	}
	held, err := n.counter.count(ctx, dir.upper(), countFor)
	if err != nil {
		return Stats{}, fmt.Errorf("counting what volume %q holds: %w", volumeID, err)
	}
	if held.partly {
		n.log.Info("only a part of a volume's files was counted; it uses more", "volume", volumeID, "target", target, "bytes", held.bytes)
	}
	stats.Bytes.Used, stats.Inodes.Used = held.bytes, held.wholeInodes()
	return stats, nil
}

// imageStats returns the statistics of a volume that shows a tree and nothing else.
func (n *Node) imageStats(ctx context.Context, volumeID, tree string) (Stats, error) {
	size, err := n.sizes.sizeOf(ctx, n.store, tree)
	if err != nil {
		return Stats{}, fmt.Errorf("measuring volume %q: %w", volumeID, err)
	}
	return Stats{
		Bytes:  hostmount.Capacity{Total: size.Bytes, Used: size.Bytes},
		Inodes: hostmount.Capacity{Total: size.Inodes, Used: size.Inodes},
	}, nil
}

// Health returns what keeps a volume from showing its content, nil if nothing does. Errors: ErrNotPublished.
func (n *Node) Health(ctx context.Context, volumeID, target string) (*Problem, error) {
	stat, err := n.look(ctx, volumeID, target)
	switch {
	case err != nil:
		return nil, err
	case stat.Mount == nil:
		return &Problem{Reason: "NotMounted", Message: "Nothing is mounted at the volume's path, so the pod sees an empty " +
			"directory; delete the pod, and its volume is mounted again."}, nil
	case stat.Gone:
		return &Problem{Reason: "LayersRemoved", Message: "Layers of the volume's image were removed from the node under the " +
			"mount, so the volume looks empty; delete the pod, and its image is pulled again."}, nil
	}
	return nil, nil
}

func (n *Node) look(ctx context.Context, volumeID, target string) (hostmount.Stat, error) {
	stat, err := n.mounter.Stat(ctx, target)
	if errors.Is(err, fs.ErrNotExist) {
		return stat, notPublished(volumeID, target)
	}
	if err != nil {
		return stat, fmt.Errorf("volume %q: %w", volumeID, err)
	}
	return stat, nil
}

func notPublished(volumeID, target string) error {
	return fmt.Errorf("volume %q at %s: %w", volumeID, target, ErrNotPublished)
}
