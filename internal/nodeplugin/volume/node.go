package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/content"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/grace"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/keylock"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/kubeletpods"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

var (
	// ErrInProgress means that another call works on the same volume.
	ErrInProgress = errors.New("another call is at work on this volume")

	// ErrOtherAccess means that the volume is published already, read-only where writable is asked for or the
	// other way round.
	ErrOtherAccess = errors.New("the volume is published already with other access")

	// ErrImageChanged means that a writable volume holds data written on top of another version of the image.
	ErrImageChanged = errors.New("the volume holds data that belongs to another version of the image")

	// ErrNotPublished means that no volume is published at a path.
	ErrNotPublished = errors.New("no volume is published there")
)

const (
	// DefaultReleaseAfter is how long an image that no volume uses stays pinned: long enough for the next pod of a
	// rollout or of a job to find it.
	DefaultReleaseAfter = time.Minute

	// DefaultOrphanAfter is how long the data of a writable volume outlives its pod's directory. The directory
	// going is the kubelet's last act for a pod, so this only guards against misreading the node.
	DefaultOrphanAfter = 10 * time.Minute

	// sweepEvery is the time between two sweeps when nothing is published or unpublished.
	sweepEvery = 10 * time.Minute

	// sourcePrefix is what the source string of every driver's overlays starts with.
	sourcePrefix = "imagecsi:"
)

// Mounter mounts, and looks, where the kubelet does; *hostmount.Engine is one.
type Mounter interface {
	MountOverlay(ctx context.Context, o hostmount.Overlay) error
	MountBind(ctx context.Context, b hostmount.Bind) error
	MountFile(ctx context.Context, f hostmount.File) error
	MountsFiles(ctx context.Context, file string) error
	Label(file *os.File) error
	FillLabelled(dir *os.File, fill func() error) error
	OpenStore(ctx context.Context, dir string) (*os.File, error)
	OpenOverlay(ctx context.Context, o hostmount.Overlay) (*os.File, error)
	Unmount(ctx context.Context, target string) error
	MoveDir(ctx context.Context, target, to string) error
	Mounts(ctx context.Context) ([]hostmount.Mount, error)
	List(ctx context.Context, dir string) ([]string, error)
	Changed(ctx context.Context, dir string) (time.Time, error)
	Stat(ctx context.Context, target string) (hostmount.Stat, error)
	Attributes(ctx context.Context, layer string, form hostmount.Form) (hostmount.Attributes, error)
	Limit(ctx context.Context, l hostmount.Limit) error
	Limited(ctx context.Context, work string) (bytes, inodes hostmount.Capacity, ok bool, err error)
	Unlimit(ctx context.Context, work string) error
}

// Images pulls images to the node; *pull.Puller is one.
type Images interface {
	Ensure(ctx context.Context, r pull.Request) error
}

// Config configures a Node.
type Config struct {
	Driver      string // the CSI driver's primary name
	KubeletRoot string // the kubelet's root directory, at the same path here and on the host
	Mounter     Mounter
	Store       imagestore.Store
	Images      Images
	Legacy      Legacy // nil where the legacy driver left nothing

	LimitFallback contract.LimitFallback // empty stands for contract.FallbackRefuse

	ReleaseAfter time.Duration // 0 stands for DefaultReleaseAfter
	OrphanAfter  time.Duration // 0 stands for DefaultOrphanAfter
	Logger       *slog.Logger  // nil is silence
}

// Request is a volume to publish, already validated.
type Request struct {
	VolumeID string
	Target   string
	Image    string // normalised reference
	Writable bool
	Form     contract.Form // empty stands for contract.FormOverlay
	Policy   contract.PullPolicy
	Auths    []*runtimeapi.AuthConfig // credentials for the image
	Provided *pull.Provided           // further ones, which take time to get; nil is none
	Pod      string                   // namespace/name; may be empty

	Sources   []string // where Auths come from, for messages
	Unmatched []string // secrets without credentials for the image, for messages

	Namespace string // the pod's, which a runtime's policy may depend on; empty if the kubelet does not send it

	SizeLimit int64   // bytes that a writable volume may hold; 0 is no limit
	Group     *uint32 // the pod's fsGroup, the group of a new writable volume's root directory; nil is none

	// What the driver's rules refuse. A volume that is published already stays.
	Refused        error                   // why the image may not be a volume, nil if it may
	RefusedContent []contract.ImageContent // what its tree must not hold
}

// Node publishes image volumes on this node.
type Node struct {
	mounter  Mounter
	store    imagestore.Store
	images   Images
	legacy   Legacy
	log      *slog.Logger
	driver   string
	source   string // what the source string of our overlays starts with
	emptyDir string
	lookDir  string // where trees are looked at, on kernels that need a place for it
	filesDir string // of EROFS files
	keptDir  string // of files that pods wrote while their volume was not mounted
	data     directories
	stores   stores
	pods     kubeletpods.Dir

	limitFallback contract.LimitFallback

	releaseAfter time.Duration
	orphanAfter  time.Duration
	sweeping     sync.Mutex // guards the grace periods, and what sweeps found
	idlePins     grace.Idle
	lostTrees    map[string]bool // in use at the latest sweep, and neither pinned nor there
	orphans      grace.Idle
	drafts       grace.Idle
	idleLinked   grace.Idle
	idleFiles    grace.Idle
	findings     findings
	counter      counter
	sizes        sizes
	content      *content.Inspector

	linking *maker     // of linked trees, by the tree's ID
	filing  *maker     // of EROFS files, by the tree's ID
	copying *maker     // of copies of images, by the name of their volume's directory
	placing sync.Mutex // held while a linked tree gets a place, or a store that has none is forgotten

	targets  keylock.Lock // held by one call for a target
	creating keylock.Lock // held by the call that makes a directory, or by the sweep that discards it, by the directory's name
	trees    keylock.Lock // shared by publishes of a tree, held by its release until the unpin has ended

	unpins      atomic.Uint64 // grows with every Unpin, so that a publish notices that its pin may be gone
	uncollected atomic.Bool   // something was unpinned, and the runtime has not freed its disk yet
	wake        chan struct{}

	aside    chan struct{} // signals that a directory was set aside
	removing sync.Mutex    // held while those are removed
}

// New prepares the driver's directories and returns a Node.
func New(c Config) (*Node, error) {
	base := filepath.Join(c.KubeletRoot, contract.PluginsDir, c.Driver)
	n := &Node{
		mounter:       c.Mounter,
		store:         c.Store,
		images:        c.Images,
		log:           c.Logger,
		legacy:        c.Legacy,
		driver:        c.Driver,
		source:        Source(c.Driver),
		emptyDir:      filepath.Join(base, "empty"),
		lookDir:       filepath.Join(base, "look"),
		filesDir:      filepath.Join(base, filesDir),
		keptDir:       filepath.Join(base, "kept"),
		data:          directories{root: filepath.Join(base, dataDir)},
		stores:        stores{root: filepath.Join(base, "stores")},
		pods:          kubeletpods.Beneath(c.KubeletRoot),
		limitFallback: c.LimitFallback,
		releaseAfter:  orDefault(c.ReleaseAfter, DefaultReleaseAfter),
		orphanAfter:   orDefault(c.OrphanAfter, DefaultOrphanAfter),
		orphans:       grace.Idle{},
		drafts:        grace.Idle{},
		idleLinked:    grace.Idle{},
		idleFiles:     grace.Idle{},
		idlePins:      grace.Idle{},
		counter:       newCounter(),
		content:       content.New(c.Logger),
		wake:          make(chan struct{}, 1),
		aside:         make(chan struct{}, 1),
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.linking = newMaker(n.log, "the form "+string(contract.FormIDMappable)+" of its image", linkTimeout)
	n.filing = n.newFileMaker(n.linking.what)
	n.copying = newMaker(n.log, "the copy of its image for form "+string(contract.FormIDMappable), copyTimeout)
	if n.legacy == nil {
		n.legacy = noLegacy{}
	}
	// The empty directory is a part of mounts that any user may read; the data of volumes is for root only.
	for dir, mode := range map[string]os.FileMode{n.emptyDir: 0o755, n.keptDir: 0o700, n.data.root: 0o700, n.stores.root: 0o700, n.filesDir: 0o700} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return nil, fmt.Errorf("preparing the driver's directory below the kubelet root %s: %w", c.KubeletRoot, err)
		}
	}
	return n, nil
}

func orDefault(d, other time.Duration) time.Duration {
	if d <= 0 {
		return other
	}
	return d
}

// Source returns what the source strings of a driver's overlays start with. The ID of the tree that an overlay shows follows.
func Source(driver string) string { return sourcePrefix + driver + "@" }

// treeOf returns the image tree that a mount shows, if it is one of ours and no copy.
func (n *Node) treeOf(m hostmount.Mount) (string, bool) {
	if tree, ours := strings.CutPrefix(m.Source, n.source); ours {
		return tree, true
	}
	driver, tree, linked := n.linkedOf(m)
	return tree, linked && driver == n.driver
}

// isOurs reports whether the driver has made a mount.
func (n *Node) isOurs(m hostmount.Mount) bool {
	_, shows := n.treeOf(m)
	return shows || n.isCopy(m)
}

// isOthers reports whether a mount is one that another driver of this project has made.
func (n *Node) isOthers(m hostmount.Mount) bool {
	driver, _, linked := n.linkedOf(m)
	if copied := copiedRoot.FindStringSubmatch(m.Root); copied != nil && n.pods.IsTarget(m.Target) && copied[1] != n.driver {
		return true
	}
	return (linked && driver != n.driver) || (strings.HasPrefix(m.Source, sourcePrefix) && !strings.HasPrefix(m.Source, n.source))
}
