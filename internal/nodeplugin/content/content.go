package content

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recoverpanic"
)

// ErrRefused means that a tree holds what the driver's rules refuse, or too much to be looked through for it.
var ErrRefused = errors.New("the driver's rules refuse it")

// ErrUnreadable means that the kernel could not read a tree: its disk fails, its layers are gone, or its image is malformed.
var ErrUnreadable = errors.New("the image's files cannot be read")

// kinds are what a walk looks for, in the order of a refusal, and in the words for it.
var kinds = []struct { //nolint:gochecknoglobals // a table that nothing changes
	kind          contract.ImageContent
	what, without string
}{
	{contract.ContentSetIDFiles, "a set-uid or set-gid file", "with chmod ug-s"},
	{contract.ContentFileCapabilities, "a file with capabilities", "with setcap -r"},
	{contract.ContentDeviceNodes, "a device node", "without it"},
}

const (
	// DefaultParallel is how many trees are looked through at a time, so that one slow tree does not keep the others waiting.
	DefaultParallel = 2

	// DefaultTimeout ends a look through one tree. It is longer than the largest image takes on a slow disk.
	DefaultTimeout = 10 * time.Minute

	// maxKnown bounds the trees that are remembered; few nodes have more images.
	maxKnown = 1024
)

// Tree is a tree to be looked through.
type Tree struct {
	// ID names its content.
	ID string

	// Hold keeps the tree from being removed, until release.
	Hold func(context.Context) (release func(), err error)

	// Open mounts the tree and returns its root directory, open for reading.
	Open func(context.Context) (*os.File, error)
}

// Inspector looks through trees, once through each, and remembers what they hold.
type Inspector struct {
	log     *slog.Logger
	turns   chan struct{} // held by walks
	timeout time.Duration
	bounds  bounds

	mu    sync.Mutex
	known map[string]finding
	looks map[string]*look // under way, by tree
}

// look is one look through a tree. It goes on when the call that began it has run out of time.
type look struct {
	done  chan struct{} // closed when the rest is set
	found finding
	err   error
}

// New returns an Inspector. A nil logger is silence.
func New(log *slog.Logger) *Inspector {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Inspector{
		log: log, turns: make(chan struct{}, DefaultParallel), timeout: DefaultTimeout, bounds: bounds{maxEntries, maxDepth},
		known: map[string]finding{}, looks: map[string]*look{},
	}
}

// Check returns nil if a tree holds nothing of what is refused. Otherwise the error wraps ErrRefused and begins with a verb, to
// follow the image's name. Other errors: ErrUnreadable, those of the tree, and that of ctx if the look has not ended in time, which
// goes on, and for which the next call waits.
func (i *Inspector) Check(ctx context.Context, tree Tree, refused []contract.ImageContent) error {
	if len(refused) == 0 {
		return nil
	}
	found, err := i.find(ctx, tree)
	if err != nil {
		return err
	}
	return found.check(refused)
}

// find returns what a tree holds.
func (i *Inspector) find(ctx context.Context, tree Tree) (finding, error) {
	l, known := i.join(ctx, tree)
	if l == nil {
		return known, nil
	}
	select {
	case <-l.done:
		return l.found, l.err
	case <-ctx.Done():
		return finding{}, fmt.Errorf("its files are still being looked through for what the driver's rules refuse; the next try waits "+
			"for the result: %w", ctx.Err())
	}
}

// join returns the look through a tree that is under way, begins one, or returns what is known of the tree.
func (i *Inspector) join(ctx context.Context, tree Tree) (*look, finding) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if found, ok := i.known[tree.ID]; ok {
		return nil, found
	}
	l, ok := i.looks[tree.ID]
	if !ok {
		l = &look{done: make(chan struct{})}
		i.looks[tree.ID] = l
		go i.run(context.WithoutCancel(ctx), tree, l)
	}
	return l, finding{}
}

// run looks through a tree. A failure is for those who wait now; the next call tries again.
func (i *Inspector) run(ctx context.Context, tree Tree, l *look) {
	l.err = recoverpanic.Guard(i.log, "a look through an image", func() (err error) {
		l.found, err = i.through(ctx, tree)
		return err
	})
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.looks, tree.ID)
	if l.err == nil {
		if len(i.known) >= maxKnown {
			clear(i.known)
		}
		i.known[tree.ID] = l.found
	}
	close(l.done)
}

// through waits for a turn and looks through a tree, which is held meanwhile.
func (i *Inspector) through(ctx context.Context, tree Tree) (finding, error) {
	ctx, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	release, err := tree.Hold(ctx)
	if err != nil {
		return finding{}, err
	}
	defer release()
	select {
	case i.turns <- struct{}{}:
		defer func() { <-i.turns }()
	case <-ctx.Done():
		return finding{}, fmt.Errorf("other images are being looked through: %w", ctx.Err())
	}
	began := time.Now()
	root, err := tree.Open(ctx)
	if err != nil {
		return finding{}, err
	}
	defer root.Close()
	found, err := walk(ctx, root, i.bounds)
	if err != nil {
		return finding{}, fmt.Errorf("looking for what the driver's rules refuse: %w", err)
	}
	i.log.Info("looked through the files of an image", "tree", tree.ID, "found", found.String(), "took", time.Since(began).Round(time.Millisecond).String())
	return found, nil
}

// check returns the first refusal.
func (f finding) check(refused []contract.ImageContent) error {
	const ask = "or ask the administrator to change spec.security.refusedContent of the ImageCSIDriver"
	for _, k := range kinds {
		for _, kind := range refused {
			if path, has := f.first[kind]; has && kind == k.kind {
				return fmt.Errorf("holds %s, %s, and %w (%s); build the image %s, %s", k.what, path, ErrRefused, kind, k.without, ask)
			}
		}
	}
	if f.tooLarge != "" {
		return fmt.Errorf("%s, which is too much to look through for %s, so %w; use a smaller image, %s", f.tooLarge, join(refused), ErrRefused, ask)
	}
	return nil
}

func join(refused []contract.ImageContent) string {
	names := make([]string, 0, len(refused))
	for _, kind := range refused {
		names = append(names, string(kind))
	}
	return strings.Join(names, ", ")
}

// String is for the log.
func (f finding) String() string {
	var parts []string
	for _, k := range kinds {
		if path, has := f.first[k.kind]; has {
			parts = append(parts, string(k.kind)+" "+path)
		}
	}
	if f.tooLarge != "" {
		parts = append(parts, f.tooLarge)
	}
	return strings.Join(parts, ", ")
}
