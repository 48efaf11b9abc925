package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/cgroup"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/network"
)

// downTimeout bounds how long killed processes may take to go.
const downTimeout = 30 * time.Second

// Down takes the cluster down and removes all of it: processes, networks, control groups and the state directory.
// It works whatever is left of the cluster, and can be run again after it was interrupted.
func (c *Cluster) Down(ctx context.Context) error {
	return c.takeDown(ctx, func() error {
		if err := os.RemoveAll(c.paths.dir); err != nil {
			return fmt.Errorf("remove the state of cluster %s: %w", c.state.Name, err)
		}
		return nil
	})
}

// Halt takes the cluster down and keeps its state. Up with the same name brings it back with its objects, its images
// and its ports.
func (c *Cluster) Halt(ctx context.Context) error {
	return c.takeDown(ctx, func() error { return nil })
}

// takeDown ends everything, then calls last.
func (c *Cluster) takeDown(ctx context.Context, last func() error) error {
	unlock, err := lock(c.paths)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	// Another program may have added nodes since this one opened the cluster, or taken it down.
	if c.state, err = loadState(c.paths); errors.Is(err, errNoCluster) {
		return last()
	}
	if err != nil {
		return err
	}
	var nodes errgroup.Group
	for _, n := range c.state.Nodes {
		nodes.Go(func() error { return c.stopNode(ctx, n) })
	}
	if err := nodes.Wait(); err != nil {
		return err
	}
	if err := c.stopControlPlane(ctx); err != nil {
		return err
	}
	return last()
}

func (c *Cluster) stopControlPlane(ctx context.Context) error {
	if err := c.killControlPlane(ctx); err != nil {
		return err
	}
	if c.state.Loopback {
		return nil
	}
	if err := network.Remove(c.state.controlPlaneNamespace()); err != nil {
		return err
	}
	groups, err := cgroup.Detect()
	if err != nil {
		return err
	}
	return groups.Remove(ctx, c.state.group())
}

// killControlPlane kills the control plane's process and then its daemons, as recorded, and removes the records.
func (c *Cluster) killControlPlane(ctx context.Context) error {
	const before = "hub" // the process's name in clusters that an earlier version of this package brought up
	for _, name := range []string{controlPlaneProcess, before, scheduler, controllerManager, apiServer, etcd} {
		// If a crash has cut a record off, it is a daemon's, and the daemon has ended with the process that started it.
		if err := c.process(name).Kill(ctx); err != nil {
			return fmt.Errorf("stop %s: %w", name, err)
		}
		if err := os.Remove(c.paths.process(name)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}
