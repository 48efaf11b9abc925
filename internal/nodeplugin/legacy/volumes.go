package legacy

import (
	"cmp"
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/image-csi/image-csi-operator/internal/liveview"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/grace"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/keylock"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/kubeletpods"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy/leftover"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

// mounter is the part of volume.Mounter that is needed here.
type mounter interface {
	MountOverlay(ctx context.Context, o hostmount.Overlay) error
	Mounts(ctx context.Context) ([]hostmount.Mount, error)
	List(ctx context.Context, dir string) ([]string, error)
}

// Volumes are those that the legacy driver published on this node.
type Volumes struct {
	mounter mounter
	store   leftover.Store
	log     *slog.Logger
	source  string // what the source strings of this driver's overlays start with
	pods    kubeletpods.Dir

	releaseAfter time.Duration
	orphanAfter  time.Duration

	data keylock.Lock // held by the call that mounts a volume's data, or by its removal until that has ended, by volume ID

	none   atomic.Bool // the latest look found nothing; false before the first look
	looked time.Time   // of sweeps only
	idle   grace.Idle  // of sweeps only

	adopted, orphaned, removed atomic.Int64
	left                       atomic.Pointer[[]liveview.Orphan] // of the latest sweep; replaced, never changed
}

var _ volume.Legacy = (*Volumes)(nil)

// New returns the legacy driver's volumes on the node of the volume.Node that c configures, whose image store is store.
func New(c volume.Config, store leftover.Store) *Volumes {
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Volumes{
		mounter:      c.Mounter,
		store:        store,
		log:          log,
		source:       volume.Source(c.Driver),
		pods:         kubeletpods.Beneath(c.KubeletRoot),
		releaseAfter: cmp.Or(c.ReleaseAfter, volume.DefaultReleaseAfter),
		orphanAfter:  cmp.Or(c.OrphanAfter, volume.DefaultOrphanAfter),
		idle:         grace.Idle{},
	}
}

// possible reports whether the legacy driver may have left something, so that the runtime has to be asked.
func (v *Volumes) possible() bool { return !v.none.Load() }

// Counts are the snapshots and storage containers of the legacy driver.
type Counts struct {
	Adopted  int // those that pods need, at the latest sweep
	Orphaned int // those without a pod at the latest sweep that are not removed yet
	Removed  int // since the process began
}

// Counts returns what the latest sweep found, and how many were removed. It is zero for nil: a node without such volumes.
func (v *Volumes) Counts() Counts {
	if v == nil {
		return Counts{}
	}
	return Counts{Adopted: int(v.adopted.Load()), Orphaned: int(v.orphaned.Load()), Removed: int(v.removed.Load())}
}

// ListOrphans returns what the latest sweep found that no pod needs and that is not removed yet. It is empty for nil.
func (v *Volumes) ListOrphans() []liveview.Orphan {
	if v == nil || v.left.Load() == nil {
		return nil
	}
	return *v.left.Load()
}
