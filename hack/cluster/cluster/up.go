package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/image-csi/image-csi-operator/hack/cluster/cluster/internal/cgroup"
	"github.com/image-csi/image-csi-operator/hack/cluster/cluster/internal/network"
	"github.com/image-csi/image-csi-operator/hack/cluster/cluster/internal/pki"
	"github.com/image-csi/image-csi-operator/hack/cluster/cluster/internal/process"
)

// Up brings the cluster up and returns when the API server and every node are ready. It starts what does not run and
// keeps what does, so it also repairs a cluster, adds nodes to one, and can be run again after it was interrupted.
// Nodes that exist and are not in the configuration are brought up, too.
func Up(ctx context.Context, config Config) (*Cluster, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	if err := preflight(len(config.Nodes) > 0); err != nil {
		return nil, err // before anything is written
	}
	c := &Cluster{paths: paths{dir: config.StateDir}, progress: config.Progress}
	unlock, err := lock(c.paths)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if c.state, err = loadState(c.paths); err != nil && !errors.Is(err, errNoCluster) {
		return nil, err
	}
	if err := c.state.merge(config); err != nil {
		return nil, err
	}
	if err := preflight(!c.state.Loopback); err != nil {
		return nil, err
	}
	if err := c.prepareBinaries(ctx); err != nil {
		return nil, err
	}
	return c, c.up(ctx)
}

func (c *Cluster) up(ctx context.Context) error {
	if err := c.state.save(c.paths); err != nil {
		return err
	}
	if err := c.startHub(ctx); err != nil {
		return err
	}
	if err := c.waitForRegistry(ctx); err != nil {
		return err
	}
	if len(c.state.Nodes) > 0 {
		if err := c.pushPause(ctx); err != nil {
			return err
		}
	}
	for _, n := range c.state.Nodes {
		c.progress(fmt.Sprintf("starting node %s (%s)", n.Name, n.Runtime))
		if err := c.startNode(ctx, n); err != nil {
			return err
		}
	}
	if c.state.ControlPlane == ControlPlaneFull {
		c.progress("waiting for the API server")
		if err := c.waitForAPIServer(ctx); err != nil {
			return err
		}
	}
	return c.waitForNodes(ctx)
}

func (c *Cluster) waitForNodes(ctx context.Context) error {
	var group errgroup.Group
	for _, n := range c.state.Nodes {
		group.Go(func() error {
			if err := c.waitForNode(ctx, n); err != nil {
				return err
			}
			c.progress(fmt.Sprintf("node %s is ready", n.Name))
			return nil
		})
	}
	return group.Wait()
}

// startHub starts the hub unless it runs.
func (c *Cluster) startHub(ctx context.Context) error {
	if c.Running() {
		return c.openAuthority()
	}
	c.progress("starting the control plane of cluster " + c.state.Name)
	// What an earlier hub ran ends with it; this makes sure before its successors want the same ports and files.
	if err := c.killPrograms(ctx); err != nil {
		return err
	}
	sockets, err := c.listen()
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range sockets {
			s.Close()
		}
	}()
	if err := c.state.save(c.paths); err != nil {
		return err
	}
	if err := os.MkdirAll(c.paths.etcd(), 0o700); err != nil {
		return err
	}
	if c.state.ControlPlane == ControlPlaneFull {
		if err := c.certify(); err != nil {
			return err
		}
	}
	d := daemon{program: hubProgram, log: c.paths.log(hubProcess), record: c.paths.process(hubProcess), files: sockets}
	if c.state.Loopback {
		d.config = hubConfig{RegistryDir: c.paths.registry(), Programs: c.controlPlanePrograms()}
		return d.start()
	}
	if err := c.prepareHub(); err != nil {
		return err
	}
	hub := hubConfig{
		ControlGroup:    c.state.controlGroup(hubGroup),
		RegistryDir:     c.paths.registry(),
		RegistryAddress: registryAddress,
		Programs:        c.controlPlanePrograms(),
	}
	if c.state.ControlPlane == ControlPlaneFull {
		hub.Forward = net.JoinHostPort(hubAddress, strconv.Itoa(apiServerPort))
	}
	d.config = hub
	return network.Within(c.state.hubNamespace(), d.start)
}

// prepareHub makes the hub's network and control group.
func (c *Cluster) prepareHub() error {
	groups, err := cgroup.Detect()
	if err != nil {
		return err
	}
	if err := groups.Create(c.state.controlGroup(hubGroup)); err != nil {
		return err
	}
	if err := network.Ensure(c.state.hubNamespace()); err != nil {
		return err
	}
	return network.EnsureBridge(c.state.hubNamespace(), hubAddress+networkBits)
}

// listen opens the sockets on 127.0.0.1 that the hub inherits, and chooses the ports that programs open themselves.
func (c *Cluster) listen() (files []*os.File, err error) {
	p := &c.state.Ports
	registry, err := listenLoopback(&p.Registry)
	if err != nil {
		return nil, err
	}
	files = append(files, registry)
	if c.state.ControlPlane == ControlPlaneNone {
		return files, nil
	}
	if !c.state.Loopback {
		api, err := listenLoopback(&p.APIServer)
		if err != nil {
			registry.Close()
			return nil, err
		}
		return append(files, api), nil
	}
	// All are held until the last is chosen, so that no two are the same.
	for _, port := range []*int{&p.APIServer, &p.Etcd, &p.EtcdPeer} {
		held, err := listenLoopback(port)
		if err != nil {
			registry.Close()
			return nil, err
		}
		defer held.Close()
	}
	return files, nil
}

// listenLoopback listens on the port, or on a free one if it is 0 or taken, and sets it to what it got.
func listenLoopback(port *int) (*os.File, error) {
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)))
	if err != nil && *port != 0 {
		listener, err = net.Listen("tcp4", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("listen on 127.0.0.1: %w", err)
	}
	defer listener.Close()
	tcp := listener.(*net.TCPListener)
	*port = tcp.Addr().(*net.TCPAddr).Port
	return tcp.File()
}

// openAuthority reads the certificate authority that an earlier start made.
func (c *Cluster) openAuthority() error {
	if c.state.ControlPlane == ControlPlaneNone {
		return nil
	}
	var err error
	c.authority, err = pki.Open(c.paths.pki())
	return err
}

// killPrograms kills what the hub ran, as recorded.
func (c *Cluster) killPrograms(ctx context.Context) error {
	for _, name := range []string{scheduler, controllerManager, apiServer, etcd} {
		identity, err := process.Load(c.paths.process(name))
		if err != nil {
			continue // a record cut off by a crash; the hub's end has ended its programs
		}
		if err := identity.Kill(ctx); err != nil {
			return fmt.Errorf("stop %s: %w", name, err)
		}
	}
	return nil
}
