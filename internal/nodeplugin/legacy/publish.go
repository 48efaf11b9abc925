package legacy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy/leftover"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

// ErrNotAdoptable is returned for a volume whose data is kept in a way that only the legacy driver can mount.
var ErrNotAdoptable = errors.New("only the legacy driver can mount this data")

// Publish publishes a writable volume whose data the legacy driver keeps, as after a reboot, with a mount like the legacy
// driver's: from here on the volume is like one that was never unmounted. It reports whether there is such data. Errors:
// ErrNotAdoptable.
func (v *Volumes) Publish(ctx context.Context, r volume.Request) (bool, error) {
	if !v.possible() {
		return false, nil
	}
	unlock, err := v.data.Lock(ctx, r.VolumeID)
	if err != nil {
		return false, fmt.Errorf("the legacy driver's data of volume %q is being removed, and the container runtime has not answered yet: %w", r.VolumeID, err)
	}
	defer unlock()
	found, err := v.dataOf(ctx, r.VolumeID, r.Target)
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
	err = v.mounter.MountOverlay(ctx, hostmount.Overlay{
		Source: overlaySource, Layers: data.Layers, Upper: data.Upper, Work: data.Work, Target: r.Target,
	})
	if err != nil {
		return true, fmt.Errorf("mounting the data of volume %q in %s of the legacy driver: %w", r.VolumeID, data.Name, err)
	}
	v.log.Info("mounted a volume's data of the legacy driver", "volume", r.VolumeID, "target", r.Target, "pod", r.Pod,
		"image", r.Image, "leftover", data.Name)
	return true, nil
}

// dataOf returns the data that the legacy driver keeps of a volume, the newest first if several of its releases made some. The
// kubelet takes volume IDs of PersistentVolumes from their authors, so an ID counts only at the target that it was made for.
func (v *Volumes) dataOf(ctx context.Context, volumeID, target string) ([]leftover.Leftover, error) {
	if !v.possible() || volumeID != v.pods.InlineVolumeAt(target) {
		return nil, nil
	}
	all, err := v.store.Leftovers(ctx)
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(all, func(l leftover.Leftover) bool { return l.VolumeID != volumeID })
	slices.SortFunc(found, func(a, b leftover.Leftover) int { return b.Created.Compare(a.Created) })
	return found, nil
}

// dropPatience is how long the end of a volume waits for the runtime.
const dropPatience = 2 * time.Second

// Unpublished removes the data of a volume that was just unpublished. A runtime that does not answer does not hold up the pod's
// end: a sweep removes the data later.
func (v *Volumes) Unpublished(ctx context.Context, volumeID, target string) {
	ctx, cancel := context.WithTimeout(ctx, dropPatience)
	defer cancel()
	found, err := v.dataOf(ctx, volumeID, target)
	if len(found) == 0 && err == nil {
		return
	}
	for _, l := range found {
		if err == nil {
			err = v.remove(ctx, l, func() (bool, error) {
				mounts, err := v.mounter.Mounts(ctx)
				return isShown(l, mounts), err
			})
		}
	}
	if err != nil {
		v.log.Warn("a volume's data of the legacy driver is left for a later clean-up", "volume", volumeID, "target", target, "error", err)
	}
}
