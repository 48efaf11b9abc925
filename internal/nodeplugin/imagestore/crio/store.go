package crio

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"go.podman.io/storage"
	"go.podman.io/storage/types"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

const (
	// DefaultGraphRoot is where CRI-O keeps images unless it is configured otherwise.
	DefaultGraphRoot = "/var/lib/containers/storage"

	// DefaultRunRoot is where CRI-O keeps what need not survive a reboot.
	DefaultRunRoot = "/run/containers/storage"

	// driverName is the only graph driver whose layers are stacks of directories.
	driverName = "overlay"

	// maxCalls is how many calls of the library run at a time. The library mostly does one thing after another, so more calls
	// would only wait.
	maxCalls = 16
)

// Config selects the store and the driver.
type Config struct {
	// GraphRoot, RunRoot, ImageStore and AdditionalStores are CRI-O's storage directories (see Setup), at the same paths as
	// on the host. An empty GraphRoot and RunRoot stand for DefaultGraphRoot and DefaultRunRoot.
	GraphRoot, RunRoot, ImageStore string
	AdditionalStores               []string

	// Endpoint is CRI-O's socket, as a path or a unix:// URL, for questions about its setup. Empty asks none.
	Endpoint string

	// Driver is the CSI driver name that pins are made for.
	Driver string

	// OtherPlatforms selects what happens to images for other platforms. Empty stands for OtherPlatformsRefuse.
	OtherPlatforms contract.OtherPlatforms

	// Logger receives what happened to pins; nil is silence.
	Logger *slog.Logger
}

// Store implements imagestore.Store. Its methods may be called at the same time.
//
// The storage library takes file locks that CRI-O also holds, and has no deadlines. A call returns when its context ends,
// and what it began ends in the background; Pins lists a pin that was made that way. Calls that remove something return
// only when they have ended. While the store hangs, at most maxCalls calls hang with it.
type Store struct {
	storage storage.Store
	driver  string
	others  contract.OtherPlatforms
	logger  *slog.Logger
	calls   chan struct{} // holds one for each call of the library that runs

	setup    Setup
	endpoint string
	agreed   atomic.Bool // CRI-O has reported the same setup
}

var _ imagestore.Store = (*Store)(nil)

// Open opens CRI-O's store, which has to exist: an empty one in its place would only hide a wrong path.
func Open(config Config) (*Store, error) {
	if config.Driver == "" {
		return nil, errors.New("opening CRI-O's image store: no driver name")
	}
	if config.GraphRoot == "" {
		config.GraphRoot = DefaultGraphRoot
	}
	if config.RunRoot == "" {
		config.RunRoot = DefaultRunRoot
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	setup := Setup{config.GraphRoot, config.RunRoot, config.ImageStore, config.AdditionalStores}
	if config.Endpoint != "" {
		setup = setup.completed(config.Endpoint, config.Logger)
	}
	for _, dir := range append([]string{setup.GraphRoot, setup.RunRoot, cmp.Or(setup.ImageStore, setup.GraphRoot)}, setup.AdditionalStores...) {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("opening CRI-O's image store: %s is not a directory here (%w); mount the host's "+
				"directory at the same path, and see that it is the one CRI-O uses", dir, err)
		}
	}
	for _, root := range []string{setup.GraphRoot, setup.ImageStore} {
		if root == "" {
			continue
		}
		if err := repairLinks(root); err != nil {
			return nil, fmt.Errorf("opening CRI-O's image store in %s: repairing the names of its layers: %w", root, err)
		}
	}
	// Without skip_mount_home the library binds the layers' directory onto itself and makes that mount private, which in a
	// pod with Bidirectional propagation would reach the host. Nothing is mounted through this handle.
	options := []string{"overlay.skip_mount_home=true"}
	if len(setup.AdditionalStores) > 0 {
		options = append(options, "overlay.imagestore="+strings.Join(setup.AdditionalStores, ","))
	}
	s, err := storage.GetStore(types.StoreOptions{
		GraphRoot:          setup.GraphRoot,
		RunRoot:            setup.RunRoot,
		ImageStore:         setup.ImageStore,
		GraphDriverName:    driverName,
		GraphDriverOptions: options,
	})
	if err != nil {
		return nil, fmt.Errorf("opening CRI-O's image store in %s: %w", setup.GraphRoot, err)
	}
	if err := recordFeatures(s); err != nil {
		return nil, fmt.Errorf("opening CRI-O's image store in %s: %w", setup.GraphRoot, err)
	}
	return &Store{storage: s, driver: config.Driver, others: config.OtherPlatforms, logger: config.Logger, calls: make(chan struct{}, maxCalls),
		setup: setup, endpoint: config.Endpoint}, nil
}

// recordFeatures has the library find out, before anything else, all that it may need to know about the kernel's overlays. It
// tries mounts and namespaces for that and records the answers in the run root, where CRI-O reads and believes them. A later
// answer might be wrong, because the process confines itself.
func recordFeatures(s storage.Store) error {
	driver, err := s.GraphDriver()
	if err != nil {
		return err
	}
	driver.SupportsShifting(nil, nil)
	return nil
}

// Close drops the handle. The store is CRI-O's, so it is never shut down; pins and everything else stay.
func (s *Store) Close() error {
	s.storage.Free()
	return nil
}

// result is the result of a call of the library.
type result[T any] struct {
	value T
	err   error
}

// within runs f, when there is room for another call, until it returns or ctx ends.
func within[T any](ctx context.Context, s *Store, attempt string, f func() (T, error)) (T, error) {
	var zero T
	done, err := begin(ctx, s, f)
	if err != nil {
		return zero, fmt.Errorf("%s: %w", attempt, err)
	}
	select {
	case r := <-done:
		if r.err != nil {
			return zero, fmt.Errorf("%s: %w", attempt, r.err)
		}
		return r.value, nil
	case <-ctx.Done():
		return zero, fmt.Errorf("%s: CRI-O's store does not answer: %w", attempt, ctx.Err())
	}
}

// throughout runs f to its end, when there is room for another call. The end of ctx only keeps f from beginning.
func throughout(ctx context.Context, s *Store, attempt string, f func() error) error {
	done, err := begin(ctx, s, func() (struct{}, error) { return struct{}{}, f() })
	if err == nil {
		err = (<-done).err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	return nil
}

// begin starts f when there is room for another call.
func begin[T any](ctx context.Context, s *Store, f func() (T, error)) (<-chan result[T], error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s.calls <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("CRI-O's store does not answer, and %d calls wait for it already: %w", cap(s.calls), ctx.Err())
	}
	done := make(chan result[T], 1)
	go func() {
		defer func() { <-s.calls }()
		defer func() {
			// The library panics on what it considers a programming error. That must not end the plugin.
			if p := recover(); p != nil {
				done <- result[T]{err: fmt.Errorf("panic in the storage library: %v", p)}
			}
		}()
		value, err := f()
		done <- result[T]{value, err}
	}()
	return done, nil
}
