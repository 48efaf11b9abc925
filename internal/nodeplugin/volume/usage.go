package volume

import (
	"context"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/image-csi/image-csi-operator/internal/liveview"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/grace"
)

// Usage is what is on the node now, and what sweeps found and did.
type Usage struct {
	ReadOnly, Writable int // volumes mounted by this driver
	InMemory           int // writable ones whose data is in memory
	Pins               int // trees pinned

	OrphanedData int // data without a pod at the latest sweep that is not removed yet
	RemovedData  int // since the process began

	MountedWithoutPin int // trees that are mounted and not pinned
	Repinned          int // trees that were in use and not pinned, and were pinned again, since the process began
}

// findings are the results of the sweeps.
type findings struct {
	orphanedData, removedData atomic.Int64
	repinned                  atomic.Int64
	orphans                   atomic.Pointer[[]liveview.Orphan] // of the latest sweep; replaced, never changed
	unused                    atomic.Pointer[grace.Idle]        // pinned trees; likewise
}

// unusedSince returns since when sweeps have found no use of a pinned tree.
func (f *findings) unusedSince(tree string) (since time.Time, known bool) {
	unused := f.unused.Load()
	if unused == nil {
		return time.Time{}, false
	}
	since, known = (*unused)[tree]
	return since.UTC().Truncate(time.Second), known
}

// Usage counts what the mount table and the image store hold. A volume is one file system, but it may be mounted at many paths:
// a container's subPath is a mount of its own, and on CRI-O the node plugin sees every mount a second time, beneath its own root
// in the image store.
func (n *Node) Usage(ctx context.Context) (Usage, error) {
	mounts, err := n.mounter.Mounts(ctx)
	if err != nil {
		return Usage{}, err
	}
	pins, err := n.store.Pins(ctx)
	if err != nil {
		return Usage{}, err
	}
	usage := Usage{
		Pins:         len(pins),
		OrphanedData: int(n.findings.orphanedData.Load()),
		RemovedData:  int(n.findings.removedData.Load()),
		Repinned:     int(n.findings.repinned.Load()),
	}
	counted := map[uint64]bool{}
	unpinned := map[string]bool{}
	for _, m := range mounts {
		if n.isCopy(m) {
			usage.Writable++ // its file system is the disk's
			continue
		}
		tree, ours := n.treeOf(m)
		if !ours {
			continue
		}
		if !slices.Contains(pins, tree) {
			unpinned[tree] = true
		}
		if _, _, linked := n.linkedOf(m); linked {
			usage.ReadOnly++ // its file system is the disk's
			continue
		}
		if counted[m.Device] {
			continue
		}
		counted[m.Device] = true
		if m.ReadOnly {
			usage.ReadOnly++
		} else {
			usage.Writable++
		}
		if filepath.Base(filepath.Dir(m.Upper)) == memoryDir {
			usage.InMemory++
		}
	}
	usage.MountedWithoutPin = len(unpinned)
	return usage, nil
}
