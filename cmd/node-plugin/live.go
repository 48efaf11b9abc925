package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/liveview"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/confinement"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/inspect"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

// serveLive serves the live view, if there is an address for it. People look by it, and no volume needs it, so what goes wrong here is
// logged and ends nothing.
func (p *plugin) serveLive(o *options, container *confinement.Container, runtime *pull.Runtime) {
	if o.liveAddress == "" {
		return
	}
	listener, err := inspect.Listen(o.liveAddress)
	if err != nil {
		p.log.Warn("kubectl imagecsi shows nothing of this node", "error", err)
		return
	}
	server := inspect.NewServer(inspect.Sources{
		Info:    func(ctx context.Context) (liveview.Info, error) { return p.info(ctx, o, container, runtime) },
		Volumes: p.node.ListVolumes,
		Images:  p.node.ListImages,
		Pulls:   func(ctx context.Context) ([]liveview.Pull, error) { return p.puller.List(ctx), nil },
		Orphans: func(context.Context) ([]liveview.Orphan, error) {
			return slices.Concat(p.node.ListOrphans(), p.legacy.ListOrphans()), nil
		},
	}, p.log)
	p.live = server
	p.serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			p.log.Warn("the live view ended; kubectl imagecsi shows nothing of this node any more", "error", err)
		}
	})
}

// info describes the process and its node. What cannot be found out is left empty.
func (p *plugin) info(ctx context.Context, o *options, container *confinement.Container, runtime *pull.Runtime) (liveview.Info, error) {
	info := liveview.Info{
		Version: buildVersion(), Node: o.nodeName, Drivers: o.names(), Started: p.started.UTC().Truncate(time.Second),
		Runtime: o.runtime, MountMode: o.mountMode, Kernel: kernelRelease(),
	}
	info.RuntimeVersion, _ = runtime.Version(ctx) // NotReady says why it does not answer
	if err := p.ready.Ready(ctx); err != nil {
		info.NotReady = err.Error()
	}
	var err error
	if info.Confinement, err = container.Report(); err != nil {
		p.log.Warn("the live view lacks how the process is confined", "error", err)
	}
	return info, nil
}

// kernelRelease is the kernel's release; empty if it is not known.
func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}
