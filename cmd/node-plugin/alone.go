package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/health"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/singleton"
)

// lockFile is the lock in the driver's directory. That is the node's own directory in both modes, so a process of either
// waits for one of the other.
const lockFile = "lock"

// waitForOthers waits until no other process serves the driver on this node, because one that stops may still release what this
// one would mount. Until then the process is alive and not ready.
func (p *plugin) waitForOthers(ctx context.Context, o *options) (err error) {
	dir := o.pluginDir()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making the driver's directory: %w", err)
	}
	host, err := os.Hostname() // a pod's is its name
	if err != nil {
		return err
	}
	waited := ""
	p.alone, err = singleton.Acquire(ctx, filepath.Join(dir, lockFile), fmt.Sprintf("%s (process %d)", host, os.Getpid()), func(holder string) {
		if holder != waited {
			p.log.Info("waiting for another node plugin to end", "driver", o.driverName, "holder", holder)
		}
		waited = holder
		p.ready.lacks(fmt.Errorf("waiting for the node plugin %s, which still runs on this node, to end", holder))
	})
	return err
}

// readiness is the answer to readiness checks: until the plugin serves, what it waits for. The zero value reports that the
// plugin is starting.
type readiness struct{ check atomic.Pointer[health.Check] }

// follow makes it answer as another check does.
func (r *readiness) follow(check health.Check) { r.check.Store(&check) }

// lacks makes it answer what is missing.
func (r *readiness) lacks(missing error) {
	r.follow(health.CheckFunc(func(context.Context) error { return missing }))
}

var errStarting = errors.New("the node plugin is starting")

// Ready implements health.Check.
func (r *readiness) Ready(ctx context.Context) error {
	check := r.check.Load()
	if check == nil {
		return errStarting
	}
	return (*check).Ready(ctx)
}
