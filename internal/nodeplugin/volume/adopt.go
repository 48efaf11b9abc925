package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/grace"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/keylock"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/kubeletpods"
)

// adoption looks after what the legacy driver left on this node. Its mounts serve the pods that have them until those pods
// are gone; its snapshots and storage containers are removed when no pod can need them any more. As for volumes of this
// driver, the mount table and the runtime are the only sources.
type adoption struct {
	store imagestore.Adopter // nil where there is nothing to adopt

	none   atomic.Bool // the latest look found nothing; false before the first look
	looked time.Time   // guarded by Node.sweeping
	idle   grace.Idle  // guarded by Node.sweeping
}

// possible reports whether the legacy driver may have left something, so that the runtime has to be asked.
func (a *adoption) possible() bool { return a.store != nil && !a.none.Load() }

// mayHaveMade reports whether the legacy driver makes mounts such as this one. The runtime told it what to mount, so the
// mount's form is the only evidence: the runtime may not answer, and the mount may outlive its snapshot, because the legacy
// driver released snapshots that were in use.
func (a *adoption) mayHaveMade(m hostmount.Mount) bool {
	switch {
	case a.store == nil:
		return false
	case m.Root != "/":
		return snapshotDir.MatchString(m.Root)
	case m.FSType == "overlay":
		return m.Source == overlaySource
	default:
		return slices.Contains(snapshotTypes[:], m.FSType)
	}
}

// snapshotDir is a directory that is mounted for an image of one layer, or by a snapshotter without overlays: below
// "snapshots" of containerd's overlayfs and native snapshotters, "active" and "view" of its btrfs one, or in the vfs driver
// of CRI-O's storage library. The kernel marks one that was removed meanwhile.
var snapshotDir = regexp.MustCompile(`/(snapshots|active|view)/[0-9]+(/|$)|/vfs/dir/[0-9a-f]{64}(/|$)`)

// snapshotTypes are the file systems that are mounted as a whole, by containerd's devmapper, blockfile, zfs and erofs
// snapshotters and by the mount program of CRI-O's storage library.
var snapshotTypes = [...]string{"ext2", "ext4", "xfs", "zfs", "erofs", "fuse.fuse-overlayfs"} //nolint:gochecknoglobals // a list that nothing changes

// legacyData returns the data that the legacy driver keeps of a volume, the newest first if several of its releases made
// some. The kubelet takes volume IDs of PersistentVolumes from their authors, so an ID counts only at the target that it was
// made for.
func (n *Node) legacyData(ctx context.Context, volumeID, target string) ([]imagestore.Leftover, error) {
	if !n.adoption.possible() || volumeID != n.pods.InlineVolumeAt(target) {
		return nil, nil
	}
	all, err := n.adoption.store.Leftovers(ctx)
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(all, func(l imagestore.Leftover) bool { return l.VolumeID != volumeID })
	slices.SortFunc(found, func(a, b imagestore.Leftover) int { return b.Created.Compare(a.Created) })
	return found, nil
}

// adopt publishes a writable volume whose data the legacy driver keeps, as after a reboot, with a mount like the legacy
// driver's: from here on the volume is like one that was never unmounted. It reports whether there is such data.
func (n *Node) adopt(ctx context.Context, r Request) (bool, error) {
	if !r.Writable || !n.adoption.possible() {
		return false, nil
	}
	if _, err := n.data.identify(directoryName(r.VolumeID, r.Target)); !errors.Is(err, fs.ErrNotExist) {
		return false, nil // it has data of this driver
	}
	unlock, err := n.legacy.Lock(ctx, r.VolumeID)
	if err != nil {
		return false, fmt.Errorf("the legacy driver's data of volume %q is being removed, and the container runtime has not answered yet: %w", r.VolumeID, err)
	}
	defer unlock()
	found, err := n.legacyData(ctx, r.VolumeID, r.Target)
	if err != nil {
		return false, fmt.Errorf("looking for the legacy driver's data of volume %q: %w", r.VolumeID, err)
	}
	if len(found) == 0 {
		return false, nil
	}
	data := found[0]
	if len(data.Layers) == 0 {
		return true, fmt.Errorf("volume %q has data in %s: %w; delete the pod to start afresh", r.VolumeID, data.Name, ErrNotAdoptable)
	}
	err = n.mounter.MountOverlay(ctx, hostmount.Overlay{
		Source: overlaySource, Layers: data.Layers, Upper: data.Upper, Work: data.Work, Target: r.Target,
	})
	if err != nil {
		return true, fmt.Errorf("mounting the data of volume %q in %s of the legacy driver: %w", r.VolumeID, data.Name, err)
	}
	n.log.Info("mounted a volume's data of the legacy driver", "volume", r.VolumeID, "target", r.Target, "pod", r.Pod,
		"image", r.Image, "leftover", data.Name)
	return true, nil
}

// overlaySource is the source string of the legacy driver's overlays.
const overlaySource = "overlay"

// dropPatience is how long the end of a volume waits for the runtime.
const dropPatience = 2 * time.Second

// dropLegacyData removes the data of a volume that was just unpublished. A runtime that does not answer does not hold up
// the pod's end: a sweep removes the data later.
func (n *Node) dropLegacyData(ctx context.Context, volumeID, target string) {
	ctx, cancel := context.WithTimeout(ctx, dropPatience)
	defer cancel()
	found, err := n.legacyData(ctx, volumeID, target)
	if len(found) == 0 && err == nil {
		return
	}
	for _, l := range found {
		if err == nil {
			err = n.removeLeftover(ctx, l, func() (bool, error) {
				mounts, err := n.mounter.Mounts(ctx)
				return isShown(l, mounts), err
			})
		}
	}
	if err != nil {
		n.log.Warn("a volume's data of the legacy driver is left for a later clean-up", "volume", volumeID, "target", target, "error", err)
	}
}

// removeLeftover removes a leftover that is not needed. It asks whether it is once more under the leftover's lock, which
// keeps the leftover from being mounted until its removal has ended, however long the runtime takes.
func (n *Node) removeLeftover(ctx context.Context, l imagestore.Leftover, needed func() (bool, error)) error {
	unlock, ok := n.legacy.TryLock(cmp.Or(l.VolumeID, l.Name))
	if !ok {
		return nil
	}
	if needed, err := needed(); needed || err != nil {
		unlock()
		return err
	}
	return keylock.RunToEnd(ctx, n.log, "the removal of a leftover", unlock, func(ctx context.Context) error {
		if err := n.adoption.store.RemoveLeftover(ctx, l.Name); err != nil {
			return err
		}
		n.findings.removedLeftovers.Add(1)
		n.log.Info("removed what the legacy driver left", "leftover", l.Name, "volume", l.VolumeID, "targets", l.Targets)
		return nil
	})
}

// sweepLeftovers removes what the legacy driver left for pods that are gone, and returns when to look again. Where there
// is nothing it looks at intervals, because the legacy driver may still run under its other name.
func (n *Node) sweepLeftovers(ctx context.Context, mounts []hostmount.Mount, now time.Time) (time.Duration, error) {
	a := &n.adoption
	if a.store == nil || a.none.Load() && now.Sub(a.looked) < sweepEvery {
		return sweepEvery, nil
	}
	all, err := a.store.Leftovers(ctx)
	if err != nil {
		return sweepEvery, err
	}
	a.looked = now
	a.none.Store(len(all) == 0)
	use, err := n.leftoverUse(ctx, all, mounts)
	if err != nil {
		return sweepEvery, fmt.Errorf("looking up which pods use what the legacy driver left: %w", err)
	}
	next, kept := sweepEvery, 0
	var orphans []imagestore.Leftover
	var names []string
	for _, l := range all {
		switch {
		case use.shows(l):
		case use.awaits(l): // soon mounted, or its pod is about to go
			next = min(next, n.releaseAfter)
		default:
			orphans, names = append(orphans, l), append(names, l.Name)
		}
	}
	a.idle.Update(names, now)
	var errs []error
	for _, l := range orphans {
		left := a.idle.Remaining(l.Name, now, n.leftoverGrace(l))
		switch {
		case !use.knows(l):
			kept++ // the administrator has to decide
		case left > 0:
			next, kept = min(next, left), kept+1
		default:
			if err := n.removeLeftover(ctx, l, func() (bool, error) { return n.needsLeftover(ctx, l) }); err != nil {
				errs, kept = append(errs, err), kept+1
			}
		}
	}
	n.findings.adopted.Store(int64(len(all) - len(orphans)))
	n.findings.orphanedLeftovers.Store(int64(kept))
	return next, errors.Join(errs...)
}

// leftoverGrace is longer for what a pod may have written.
func (n *Node) leftoverGrace(l imagestore.Leftover) time.Duration {
	if l.Upper == "" && l.VolumeID == "" {
		return n.releaseAfter
	}
	return n.orphanAfter
}

// leftoverUse is the evidence on whether a pod needs a leftover.
type leftoverUse struct {
	dir     kubeletpods.Dir
	mounts  []hostmount.Mount
	foreign map[string]bool // the targets of mounts: true for those that this driver did not make
	pods    []string        // UIDs of the pods on the node
	inline  map[string]bool // volume IDs of their inline volumes
}

func (n *Node) leftoverUse(ctx context.Context, all []imagestore.Leftover, mounts []hostmount.Mount) (leftoverUse, error) {
	use := leftoverUse{dir: n.pods, mounts: mounts, foreign: map[string]bool{}, inline: map[string]bool{}}
	if len(all) == 0 {
		return use, nil
	}
	for _, m := range mounts {
		_, ours := n.treeOf(m)
		use.foreign[m.Target] = !ours
	}
	var err error
	if use.pods, err = n.mounter.List(ctx, string(n.pods)); err != nil {
		return use, err
	}
	for _, uid := range use.pods {
		volumes, err := n.mounter.List(ctx, n.pods.VolumesOf(uid))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return use, err
		}
		for _, name := range volumes {
			use.inline[kubeletpods.InlineVolumeID(uid, name)] = true
		}
	}
	return use, nil
}

// needsLeftover reports whether a pod may need a leftover now.
func (n *Node) needsLeftover(ctx context.Context, l imagestore.Leftover) (bool, error) {
	mounts, err := n.mounter.Mounts(ctx)
	if err != nil {
		return false, err
	}
	use, err := n.leftoverUse(ctx, []imagestore.Leftover{l}, mounts)
	return use.shows(l) || use.awaits(l) || !use.knows(l), err
}

// shows reports whether a leftover is mounted.
func (u leftoverUse) shows(l imagestore.Leftover) bool {
	return isShown(l, u.mounts) || slices.ContainsFunc(l.Targets, func(target string) bool { return u.foreign[target] })
}

// awaits reports whether the pod of a leftover is there and may still need it. A pod with a volume of this driver does not.
func (u leftoverUse) awaits(l imagestore.Leftover) bool {
	return u.inline[l.VolumeID] || slices.ContainsFunc(l.Targets, func(target string) bool {
		_, mounted := u.foreign[target]
		pod, ok := u.dir.PodOf(target)
		return !mounted && ok && slices.Contains(u.pods, pod)
	})
}

// knows reports whether everything that could need a leftover is visible from here. A node without any pods is not what it
// seems, because this process runs in one.
func (u leftoverUse) knows(l imagestore.Leftover) bool {
	if len(u.pods) == 0 || l.VolumeID == "" && len(l.Targets) == 0 || l.VolumeID != "" && l.Upper == "" {
		return false
	}
	return !slices.ContainsFunc(l.Targets, func(target string) bool {
		_, ok := u.dir.PodOf(target)
		return !ok
	})
}

// isShown reports whether an overlay has a leftover's upper directory. The mount of CRI-O's storage library, on which the
// legacy driver's mounts are based, lies beside that directory and does not count.
func isShown(l imagestore.Leftover, mounts []hostmount.Mount) bool {
	return l.Upper != "" && slices.ContainsFunc(mounts, func(m hostmount.Mount) bool {
		same := m.Upper == l.Upper || m.Upper != "" && !filepath.IsAbs(m.Upper) && strings.HasSuffix(l.Upper, "/"+m.Upper)
		return same && filepath.Dir(m.Target) != filepath.Dir(l.Upper)
	})
}
