package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/confinement"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/credentials"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/health"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/hostmount"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imageaccess"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagerules"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/kubeletpulls"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy/leftover"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy/legacymetrics"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/metrics"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/registration"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/sandboxprofile"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/server"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/signaturepolicy"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/singleton"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
	"github.com/image-csi/image-csi-operator/internal/privileges"
	"github.com/image-csi/image-csi-operator/internal/repeats"
)

const (
	// startTimeout bounds the mount engine's start and its self-test.
	startTimeout = 30 * time.Second

	// drainTimeout is how long calls in flight have to end; a DaemonSet's pod has 30 seconds in all by default.
	drainTimeout = 15 * time.Second

	// releaseTimeout is how long the last sweep has after that.
	releaseTimeout = 5 * time.Second
)

// plugin is the running process: what start has made, in the order in which stop closes it.
type plugin struct {
	log       *slog.Logger
	started   time.Time
	ready     readiness
	alone     *singleton.Lock // held until the process ends
	registrar *registration.Registrar
	servers   []*grpc.Server
	http      *http.Server
	live      *http.Server
	legacy    *legacy.Volumes // nil where the runtime's store has none
	node      *volume.Node
	puller    *pull.Puller
	closers   []func() error // the rest, last made first closed

	serving  sync.WaitGroup
	sweeping sync.WaitGroup
	failed   chan error // of a server that ended unasked
}

// start makes everything and serves. On failure it closes what it has made.
func start(ctx context.Context, o *options, log *slog.Logger) (_ *plugin, err error) {
	p := &plugin{log: log, started: time.Now(), failed: make(chan error, 1)}
	defer func() { //nolint:contextcheck // closing has its own time limit
		if err != nil {
			p.stop()
		}
	}()
	container := confinement.InContainer(o.container, privileges.Container(o.pods, o.dropped...))
	if err := container.Ready(ctx); err != nil {
		return nil, err
	}
	observed := metrics.New()
	if err := p.serveHTTP(o, &p.ready, observed); err != nil {
		return nil, err
	}
	if err := p.waitForOthers(ctx, o); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	engine, err := p.openEngine(ctx, o)
	if err != nil {
		return nil, err
	}
	store, err := openStore(o, log) //nolint:contextcheck // the one call in it has a time limit of its own
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, store.Close)
	// The mount threads are in their namespace, and CRI-O's storage library has found out what the kernel's overlays can do.
	// What follows serves others.
	confined, err := confinement.Apply(privileges.Serving(o.pods, o.dropped...))
	if err != nil {
		return nil, fmt.Errorf("confining the process: %w", err)
	}
	runtime, err := pull.Dial(o.runtimeEndpoint)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, runtime.Close)

	var legacyMetrics *legacymetrics.Metrics // nil counts nothing
	if o.legacyMetrics {
		legacyMetrics = legacymetrics.New()
		observed.Register(legacyMetrics)
	}
	records, err := imageaccess.Open(filepath.Join(o.pluginDir(), "access"))
	if err != nil {
		return nil, err
	}
	downloads, _ := store.(pull.Downloads) // not every runtime reports them
	p.puller = pull.New(runtime, pull.Config{
		MaxParallel: o.maxParallelPulls, MaxImageBytes: o.maxImageBytes, Access: records, Verify: o.verify, Observer: legacyMetrics.Observer(observed),
		Logger:    slog.New(repeats.New(log.Handler(), slog.LevelInfo)), // tries of a pull that fails again and again begin and end
		Downloads: downloads, Namespaced: o.runtime == contract.RuntimeCRIO,
		Policies: signaturepolicy.Open(o.policyDir, o.runtimeEndpoint), Kubelet: kubeletpulls.Open(engine, o.kubeletRoot),
	})
	if err := p.openNode(o, engine, store, observed, legacyMetrics); err != nil {
		return nil, err
	}
	drivers := registration.Endpoints(o.pluginDir(), o.names())
	if err := registration.RemoveDropped(o.pluginDir(), o.registryDir(), drivers); err != nil {
		log.Warn("sockets of names that are no longer served could not be removed; the next start tries again", "error", err)
	}
	p.registrar = registration.New(drivers, log)
	p.registrar.OnRemoved(p.fail)
	ready := health.Checks{p.ending(container), p.ending(confined), p.registrar, runtime, imagerules.File(o.imageRules)}
	if check, ok := store.(health.Check); ok { // of how the node's store is set up
		ready = append(ready, check)
	}
	if o.sandboxProfile != "" {
		profile := sandboxprofile.New(engine, o.kubeletRoot, o.driverName, o.sandboxProfile)
		if err := profile.Ready(ctx); err != nil {
			log.Warn("the seccomp profile of sandboxes is not on the node; the readiness check tries again", "error", err)
		}
		ready = append(ready, profile)
	}
	operations := health.NewOperations(time.Now)

	if err := p.serveCSI(o, drivers, ready, observed, operations, legacyMetrics); err != nil {
		return nil, err
	}
	p.ready.follow(append(ready, operations))
	p.serveLive(o, container, runtime)
	if err := pageOutProgram(); err != nil {
		log.Debug("what of the program the start alone needed stays in memory", "error", err)
	}
	if err := p.registrar.Start(o.registryDir()); err != nil { //nolint:contextcheck // it serves until Stop
		return nil, err
	}
	log.Info("serving", "drivers", o.names(), "node", o.nodeName, "runtime", o.runtime, "mountMode", o.mountMode, "version", buildVersion())
	return p, nil
}

// openEngine opens the mount engine and has it test itself in the driver's own directory.
func (p *plugin) openEngine(ctx context.Context, o *options) (*hostmount.Engine, error) {
	config := hostmount.Config{Root: o.kubeletRoot, Context: o.container.VolumeContext(), Logger: p.log}
	dir, seen := o.pluginDir(), o.nodeView
	if o.mountMode == contract.ModeNsenter {
		config.NamespaceDir, seen = contract.HostNamespacePath, dir
	}
	engine, err := hostmount.Open(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("opening the mount engine in mode %s: %w", o.mountMode, err)
	}
	p.closers = append(p.closers, engine.Close)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the driver's directory: %w", err)
	}
	if err := engine.Check(ctx, dir, seen); err != nil {
		return nil, fmt.Errorf("testing mounts in mode %s: %w", o.mountMode, err)
	}
	return engine, nil
}

func (p *plugin) openNode(o *options, engine *hostmount.Engine, store imagestore.Store, m *metrics.Metrics, legacyMetrics *legacymetrics.Metrics) (err error) {
	config := volume.Config{
		Driver:        o.driverName,
		KubeletRoot:   o.kubeletRoot,
		LimitFallback: o.fallback,
		Mounter:       engine,
		Store:         store,
		Images:        legacyMetrics.Images(p.puller),
		ReleaseAfter:  o.releaseAfter,
		OrphanAfter:   o.orphanAfter,
		Logger:        p.log,
	}
	if store, ok := store.(leftover.Store); ok {
		p.legacy = legacy.New(config, store)
		config.Legacy = p.legacy
	}
	if p.node, err = volume.New(config); err != nil {
		return err
	}
	m.CollectUsage(p.node.Usage, p.legacy.Counts)
	return nil
}

// serveCSI serves every name on its own socket.
func (p *plugin) serveCSI(o *options, drivers []registration.Driver, ready health.Check, observed *metrics.Metrics,
	operations *health.Operations, legacyMetrics *legacymetrics.Metrics) error {
	maxVolumes, err := maxVolumes(o)
	if err != nil {
		return err
	}
	config := server.Config{
		NodeID:      o.nodeName,
		Version:     buildVersion(),
		KubeletRoot: o.kubeletRoot,
		Credentials: credentials.Directory(o.credentialsDir),
		Providers:   credentials.NewProviders(o.providerSocket),
		Images:      imagerules.File(o.imageRules),
		Policy:      o.policy,
		Access:      o.pods,
		SizeLimits:  o.limits,
		MaxVolumes:  maxVolumes,
		Volumes:     legacyMetrics.Volumes(p.node),
		Ready:       ready.Ready,
		Observe:     observed.Operation,
		Outcome:     operations.Observe,
		Logger:      p.log,
	}
	for _, d := range drivers {
		socket, err := registration.Listen(d.Endpoint)
		if err != nil {
			return fmt.Errorf("CSI socket of driver %s: %w", d.Name, err)
		}
		socket.LogTaken(p.log)
		p.registrar.Keep(d.Name, socket)
		s := server.New(d.Name, config)
		p.servers = append(p.servers, s)
		p.serve("the CSI socket of driver "+d.Name, func() error { return s.Serve(socket) })
	}
	return nil
}

// maxVolumes returns the administrator's limit, else the kernel's: a volume is one mount of the namespace.
func maxVolumes(o *options) (int64, error) {
	if o.maxVolumes > 0 {
		return o.maxVolumes, nil
	}
	return hostmount.MountMax()
}

func (p *plugin) serveHTTP(o *options, ready health.Check, m *metrics.Metrics) error {
	if o.httpAddress == "" {
		return nil
	}
	listener, err := net.Listen("tcp", o.httpAddress)
	if err != nil {
		return fmt.Errorf("serving health and metrics: %w; if another program has the port, set spec.nodePlugin.httpPort of the ImageCSIDriver", err)
	}
	p.http = health.NewServer(o.httpAddress, ready, m.Handler())
	p.serve("the health and metrics server", func() error { return p.http.Serve(listener) })
	return nil
}

// serve runs a server until it is stopped. The first server that ends unasked ends the process.
func (p *plugin) serve(what string, serve func() error) {
	p.serving.Go(func() {
		err := serve()
		if err == nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, grpc.ErrServerStopped) {
			return
		}
		p.fail(fmt.Errorf("%s ended: %w", what, err))
	})
}

// fail ends the process. The first call sets the reason.
func (p *plugin) fail(err error) {
	select {
	case p.failed <- err:
	default:
	}
}

// ending returns a check that ends the process when it finds less confinement than there should be.
func (p *plugin) ending(check health.Check) health.Check {
	return health.CheckFunc(func(ctx context.Context) error {
		err := check.Ready(ctx)
		if less := (*confinement.Less)(nil); errors.As(err, &less) {
			p.fail(err)
		}
		return err
	})
}

// run sweeps until ctx ends or a server fails, then stops everything.
func (p *plugin) run(ctx context.Context) error {
	sweeps, stopSweeps := context.WithCancel(ctx)
	defer stopSweeps()
	p.sweeping.Go(func() { p.node.Run(sweeps) })

	var err error
	select {
	case <-ctx.Done():
		p.log.Info("stopping; mounts stay")
	case err = <-p.failed:
	}
	stopSweeps()
	p.stop() //nolint:contextcheck // stopping starts when the context has ended
	return err
}

// stop removes the registrations, lets calls in flight end, and only then waits for the sweep to end. It releases what no volume
// uses, and closes everything. Mounts stay, and with them the pins of their images.
func (p *plugin) stop() {
	if p.registrar != nil {
		p.registrar.Stop()
	}
	p.drain()
	p.sweeping.Wait()
	if p.puller != nil {
		p.puller.Close()
	}
	if p.node != nil {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		if err := p.node.ReleaseUnused(ctx); err != nil {
			p.log.Warn("the last sweep is incomplete; the next start continues", "error", err)
		}
		cancel()
	}
	for _, s := range []*http.Server{p.http, p.live} {
		if s != nil {
			_ = s.Close()
		}
	}
	p.serving.Wait()
	for i := len(p.closers) - 1; i >= 0; i-- {
		if err := p.closers[i](); err != nil {
			p.log.Warn("closing", "error", err)
		}
	}
}

// drain stops the CSI servers, gracefully at first.
func (p *plugin) drain() {
	force := time.AfterFunc(drainTimeout, func() {
		for _, s := range p.servers {
			s.Stop()
		}
	})
	defer force.Stop()
	var draining sync.WaitGroup
	for _, s := range p.servers {
		draining.Go(s.GracefulStop)
	}
	draining.Wait()
}
