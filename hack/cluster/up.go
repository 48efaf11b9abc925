package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/cgroup"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/network"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/pki"
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
	if c.programDirs, err = c.state.preparePrograms(ctx, progressWriter{c.progress}); err != nil {
		return nil, err
	}
	return c, c.up(ctx)
}

func (c *Cluster) up(ctx context.Context) error {
	if err := c.state.save(c.paths); err != nil {
		return err
	}
	if err := c.startControlPlane(ctx); err != nil {
		return err
	}
	if err := c.waitForRegistry(ctx); err != nil {
		return err
	}
	if len(c.state.Nodes) > 0 {
		if err := c.pushPause(ctx); err != nil {
			return err
		}
		if err := c.linkEnter(ctx); err != nil {
			return err
		}
	}
	for _, n := range c.state.Nodes {
		if !c.process(nodeProcess(n.Name)).Running() {
			c.progress(fmt.Sprintf("starting node %s (%s)", n.Name, n.Runtime))
		}
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

// startControlPlane starts the control plane's process unless it runs.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	if c.Running() {
		return c.openAuthority()
	}
	c.progress("starting the control plane of cluster " + c.state.Name)
	// What an earlier process ran ends with it; this makes sure before its successors want the same ports and files.
	if err := c.killControlPlane(ctx); err != nil {
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
	d := detached{
		entrypoint: controlPlaneEntrypoint,
		log:        c.paths.log(controlPlaneProcess),
		record:     c.paths.process(controlPlaneProcess),
		files:      sockets,
	}
	if c.state.Loopback {
		d.config = controlPlaneConfig{RegistryDir: c.paths.registry(), Daemons: c.controlPlaneDaemons()}
		return d.start()
	}
	if err := c.wireControlPlane(); err != nil {
		return err
	}
	config := controlPlaneConfig{
		ControlGroup:    c.state.controlGroup(controlPlaneMember),
		RegistryDir:     c.paths.registry(),
		RegistryAddress: registryAddress,
		Daemons:         c.controlPlaneDaemons(),
	}
	if c.state.ControlPlane == ControlPlaneFull {
		config.Forward = net.JoinHostPort(controlPlaneAddress, strconv.Itoa(apiServerPort))
	}
	d.config = config
	return network.Within(c.state.controlPlaneNamespace(), d.start)
}

// wireControlPlane makes the control plane's network and control group.
func (c *Cluster) wireControlPlane() error {
	groups, err := cgroup.Detect()
	if err != nil {
		return err
	}
	if err := groups.Create(c.state.controlGroup(controlPlaneMember)); err != nil {
		return err
	}
	if err := network.Ensure(c.state.controlPlaneNamespace()); err != nil {
		return err
	}
	return network.EnsureBridge(c.state.controlPlaneNamespace(), controlPlaneAddress+networkBits)
}

// listen opens the sockets on 127.0.0.1 that the control plane's process inherits, and chooses the ports that its daemons open
// themselves.
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
