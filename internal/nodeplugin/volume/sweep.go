package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"sync"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recoverpanic"
)

const (
	// sweepDelay gathers the unpublishes of a burst into one sweep.
	sweepDelay = 2 * time.Second

	// never is longer than anything stays out of use.
	never = time.Duration(math.MaxInt64)

	// sweepTimeout bounds how long one sweep, except for its last step, waits for the runtime's answers. What is under way
	// then goes on, and keeps its lock.
	sweepTimeout = time.Minute

	// collectTimeout bounds how long a sweep waits at its end until the runtime has freed the disk.
	collectTimeout = time.Minute
)

// Run sweeps until ctx ends: at start, after unpublishes and failed publishes, and every sweepEvery. It also removes what was
// set aside.
func (n *Node) Run(ctx context.Context) {
	var removals sync.WaitGroup
	defer removals.Wait()
	removals.Go(func() { n.removals(ctx) })
	timer, due := time.NewTimer(0), time.Now()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
			// Never later than planned: a node on which pods end all the time is swept, too.
			if soon := time.Now().Add(sweepDelay); soon.Before(due) {
				due = soon
				timer.Reset(sweepDelay)
			}
		case <-timer.C:
			next := sweepEvery // after a panic, too
			err := recoverpanic.Guard(n.log, "a sweep", func() (err error) {
				next, err = n.Sweep(ctx)
				return err
			})
			switch {
			case err == nil:
				n.log.Debug("sweep complete", "next", next)
			case ctx.Err() == nil:
				n.log.Warn("the sweep is incomplete and will be tried again", "error", err)
			}
			due = time.Now().Add(next)
			timer.Reset(next)
		}
	}
}

// Wake asks Run for a sweep soon.
func (n *Node) Wake() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Sweep releases what nothing uses: pins that no volume shows, and data of writable volumes whose pod is gone. It pins again
// what is in use and has lost its pin. It releases only what was already unused at an earlier sweep, a grace period ago, and
// returns when to sweep again.
func (n *Node) Sweep(ctx context.Context) (next time.Duration, err error) {
	return n.sweep(ctx, time.Now(), n.releaseAfter)
}

// ReleaseUnused releases pins that no volume shows, without a grace period, and removes what was set aside until ctx ends. It
// is the last step before the process ends; the next process continues.
func (n *Node) ReleaseUnused(ctx context.Context) error {
	_, err := n.sweep(ctx, time.Now(), 0)
	return errors.Join(err, n.removeAside(ctx))
}

func (n *Node) sweep(ctx context.Context, now time.Time, releaseAfter time.Duration) (time.Duration, error) {
	n.sweeping.Lock()
	defer n.sweeping.Unlock()
	next, err := n.compare(ctx, now, releaseAfter)
	return next, errors.Join(err, n.collect(ctx))
}

// compare compares what is on the node. It restores pins that are missing, and releases what nothing uses.
func (n *Node) compare(ctx context.Context, now time.Time, releaseAfter time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	mounts, err := n.mounter.Mounts(ctx)
	if err != nil {
		return sweepEvery, fmt.Errorf("reading the mount table: %w", err)
	}
	trees, doubt, dataErr := n.sweepData(ctx, mounts, now)
	if trees == nil {
		trees = map[string]bool{} // the mounts are known, so their trees keep their pins
	}
	unpinAfter := releaseAfter
	if doubt {
		unpinAfter = never
	}
	for _, m := range mounts {
		if tree, ours := n.treeOf(m); ours {
			trees[tree] = true
		}
	}
	formsErr := errors.Join(n.sweepLinked(ctx, mounts, now, releaseAfter), n.sweepFiles(ctx, mounts, now, releaseAfter))
	pinErr := n.sweepPins(ctx, trees, now, unpinAfter)
	next, legacyErr := n.legacy.Sweep(ctx, mounts, now)
	next = min(sweepEvery, next, n.idlePins.Next(now, unpinAfter), n.idleLinked.Next(now, releaseAfter), n.idleFiles.Next(now, releaseAfter),
		n.orphans.Next(now, n.orphanAfter), n.drafts.Next(now, n.orphanAfter))
	return next, errors.Join(dataErr, formsErr, pinErr, legacyErr)
}

// sweepData removes the data of volumes whose pod is gone, and returns the trees that the other data lies on top of.
// They are nil if the directories could not be read. doubt is true if data may lie on a tree that is not among them.
func (n *Node) sweepData(ctx context.Context, mounts []hostmount.Mount, now time.Time) (trees map[string]bool, doubt bool, err error) {
	found, err := n.data.list()
	if err != nil {
		return nil, true, err
	}
	if len(found.aside) > 0 {
		n.removeSoon() // left by a process that ended, or a removal that failed
	}
	mounted := map[string]bool{}
	for _, m := range mounts {
		mounted[m.Target] = true
	}
	trees = map[string]bool{}
	errs := []error{n.sweepDrafts(ctx, found.drafts, now)}
	var pods []string
	if len(found.volumes) > 0 {
		// Without the names no pod counts as gone, and its data stays.
		var err error
		pods, err = n.mounter.List(ctx, string(n.pods))
		errs = append(errs, err)
	}
	targets := map[string]string{} // of the orphans, by directory name
	var orphans, unidentified []string
	for _, name := range found.volumes {
		id, err := n.data.identify(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // unpublished this moment
		}
		if err != nil {
			// Unpublish finds the directory by its name. A sweep does not know whose it is, so it stays.
			errs, doubt = append(errs, err), true
			unidentified = append(unidentified, name)
			continue
		}
		trees[id.Tree] = true
		if !mounted[id.Target] && n.pods.IsGone(id.Target, pods) {
			orphans = append(orphans, name)
			targets[name] = id.Target
		}
	}
	n.orphans.Update(orphans, now)
	defer func() {
		n.findings.orphanedData.Store(int64(len(n.orphans)))
		left := n.leftOver(targets, unidentified, now)
		n.findings.orphans.Store(&left)
	}()
	for _, name := range orphans {
		if n.orphans.Ripe(name, now, n.orphanAfter) {
			errs = append(errs, n.removeOrphan(ctx, name, targets[name]))
		}
	}
	return trees, doubt, errors.Join(errs...)
}

// removeOrphan removes the data of a pod that is gone, unless a call works on its target now, or has done so since the sweep
// looked: the kubelet restarts static pods under the same UID.
func (n *Node) removeOrphan(ctx context.Context, name, target string) error {
	unlock, ok := n.targets.TryLock(target)
	if !ok {
		return nil
	}
	defer unlock()
	if gone, err := n.isAbandoned(ctx, target); !gone || err != nil {
		return err
	}
	had, err := n.setAside(name)
	if err != nil {
		return fmt.Errorf("setting aside the data of a pod that is gone: %w", err)
	}
	n.orphans.Forget(name)
	if had {
		n.findings.removedData.Add(1)
		n.log.Info("removing the data of a volume whose pod is gone", "target", target)
	}
	return nil
}

// isAbandoned reports whether nothing is mounted at a target and its pod is gone, now.
func (n *Node) isAbandoned(ctx context.Context, target string) (bool, error) {
	if mount, err := n.mountAt(ctx, target); mount != nil || err != nil {
		return false, err
	}
	pods, err := n.mounter.List(ctx, string(n.pods))
	return n.pods.IsGone(target, pods), err
}

// sweepDrafts removes incomplete directories that a killed process left. Their age is counted here, because the times of files
// are useless once the node's clock has been set.
func (n *Node) sweepDrafts(ctx context.Context, names []string, now time.Time) error {
	n.drafts.Update(names, now)
	var errs []error
	for _, name := range names {
		if n.drafts.Ripe(name, now, n.orphanAfter) {
			errs = append(errs, n.removeDraft(ctx, name))
		}
	}
	return errors.Join(errs...)
}

// removeDraft removes an incomplete directory unless a call is making it.
func (n *Node) removeDraft(ctx context.Context, name string) error {
	unlock, ok := n.creating.TryLock(name)
	if !ok {
		return nil
	}
	defer unlock()
	if err := n.discard(ctx, directory(filepath.Join(n.data.root, name))); err != nil {
		return err
	}
	n.drafts.Forget(name)
	return nil
}
