package legacy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/image-csi/image-csi-operator/internal/liveview"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/keylock"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy/leftover"
)

// lookEvery is the time between two looks where nothing was found.
const lookEvery = 10 * time.Minute

// Sweep removes what the legacy driver left for pods that are gone, and returns when to look again. Where there is nothing it
// looks at intervals, because the legacy driver may still run under its other name. It is not called twice at once.
func (v *Volumes) Sweep(ctx context.Context, mounts []hostmount.Mount, now time.Time) (next time.Duration, err error) {
	if v.none.Load() && now.Sub(v.looked) < lookEvery {
		return lookEvery, nil
	}
	all, err := v.store.Leftovers(ctx)
	if err != nil {
		return lookEvery, err
	}
	v.looked = now
	v.none.Store(len(all) == 0)
	use, err := v.use(ctx, all, mounts)
	if err != nil {
		return lookEvery, fmt.Errorf("looking up which pods use what the legacy driver left: %w", err)
	}
	next = lookEvery
	var kept []liveview.Orphan
	var orphans []leftover.Leftover
	var names []string
	for _, l := range all {
		switch {
		case use.shows(l):
		case use.awaits(l): // soon mounted, or its pod is about to go
			next = min(next, v.releaseAfter)
		default:
			orphans, names = append(orphans, l), append(names, l.Name)
		}
	}
	v.idle.Update(names, now)
	var errs []error
	for _, l := range orphans {
		left := v.idle.Remaining(l.Name, now, v.graceOf(l))
		switch {
		case !use.knows(l):
			kept = append(kept, orphanOf(l, "not everything that could need it can be seen; remove it if no pod needs it"))
		case left > 0:
			next = min(next, left)
			seconds := int64(left.Seconds())
			waits := orphanOf(l, "no pod shows it; it is removed after a grace period")
			waits.RemovedIn = &seconds
			kept = append(kept, waits)
		default:
			if err := v.remove(ctx, l, func() (bool, error) { return v.needs(ctx, l) }); err != nil {
				errs, kept = append(errs, err), append(kept, orphanOf(l, "it could not be removed; the next sweep tries again"))
			}
		}
	}
	v.adopted.Store(int64(len(all) - len(orphans)))
	v.orphaned.Store(int64(len(kept)))
	v.left.Store(&kept)
	return next, errors.Join(errs...)
}

// orphanOf describes a leftover that no pod needs.
func orphanOf(l leftover.Leftover, message string) liveview.Orphan {
	return liveview.Orphan{Kind: liveview.OrphanLeftover, Name: l.Name, Message: message}
}

// graceOf is longer for what a pod may have written.
func (v *Volumes) graceOf(l leftover.Leftover) time.Duration {
	if l.Upper == "" && l.VolumeID == "" {
		return v.releaseAfter
	}
	return v.orphanAfter
}

// remove removes a leftover that is not needed. It asks whether it is once more under the leftover's lock, which keeps the
// leftover from being mounted until its removal has ended, however long the runtime takes.
func (v *Volumes) remove(ctx context.Context, l leftover.Leftover, needed func() (bool, error)) error {
	unlock, ok := v.data.TryLock(cmp.Or(l.VolumeID, l.Name))
	if !ok {
		return nil
	}
	if needed, err := needed(); needed || err != nil {
		unlock()
		return err
	}
	return keylock.RunToEnd(ctx, v.log, "the removal of a leftover", unlock, func(ctx context.Context) error {
		if err := v.store.RemoveLeftover(ctx, l.Name); err != nil {
			return err
		}
		v.removed.Add(1)
		v.log.Info("removed what the legacy driver left", "leftover", l.Name, "volume", l.VolumeID, "targets", l.Targets)
		return nil
	})
}
