package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
)

// Stats is how much a volume holds.
type Stats struct {
	Bytes, Inodes hostmount.Capacity
}

// Problem is why a volume cannot be used: a word for programs and a sentence for people.
type Problem struct {
	Reason, Message string
}

// Stats tells how much a volume holds. A read-only volume is on the file system of its image's layers, so that file
// system's figures are its own. A writable volume uses what the pod wrote, of its limit if it has one. Errors: ErrNotPublished.
func (n *Node) Stats(ctx context.Context, volumeID, target string) (Stats, error) {
	stat, err := n.look(ctx, volumeID, target)
	if err != nil {
		return Stats{}, err
	}
	if stat.Mount == nil {
		return Stats{}, notPublished(volumeID, target)
	}
	stats := Stats{Bytes: stat.Bytes, Inodes: stat.Inodes}
	if _, ours := n.treeOf(*stat.Mount); !ours || stat.Mount.ReadOnly {
		return stats, nil
	}
	dir := n.data.of(volumeID, target)
	if dir.inMemory() {
		return stats, nil // of a file system of the volume's own
	}
	upper := dir.upper()
	bytes, inodes, limited, err := n.mounter.Limited(ctx, upper)
	if err != nil || limited {
		return Stats{Bytes: bytes, Inodes: inodes}, err
	}
	stats.Bytes.Used, stats.Inodes.Used, err = contents(ctx, upper)
	if err != nil {
		return Stats{}, fmt.Errorf("counting what volume %q holds: %w", volumeID, err)
	}
	return stats, nil
}

// Health tells what keeps a volume from showing its content, nil if nothing does. Errors: ErrNotPublished.
func (n *Node) Health(ctx context.Context, volumeID, target string) (*Problem, error) {
	stat, err := n.look(ctx, volumeID, target)
	switch {
	case err != nil:
		return nil, err
	case stat.Mount == nil:
		return &Problem{Reason: "NotMounted", Message: "Nothing is mounted at the volume's path, so the pod sees an empty " +
			"directory; delete the pod so that it is published anew."}, nil
	case stat.Gone:
		return &Problem{Reason: "LayersRemoved", Message: "Layers of the volume's image were removed from the node under the " +
			"mount, so the volume looks empty; delete the pod so that its image is brought anew."}, nil
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

// contents counts the bytes on disk and the inodes of a directory and everything in it, as the kubelet does for an
// emptyDir. Files that come and go meanwhile are no error.
func contents(ctx context.Context, dir string) (bytes, inodes int64, err error) {
	linked := map[[2]uint64]bool{} // files of several names, counted once
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errors.ErrUnsupported
		}
		if id := [2]uint64{stat.Dev, stat.Ino}; stat.Nlink > 1 && !info.IsDir() {
			if linked[id] {
				return nil
			}
			linked[id] = true
		}
		bytes += stat.Blocks * 512 // the unit of st_blocks, see stat(2)
		inodes++
		return nil
	})
	return bytes, inodes, err
}
