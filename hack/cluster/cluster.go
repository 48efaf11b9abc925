package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/pki"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/process"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/registry"
)

// Cluster is a cluster that exists, running or not.
type Cluster struct {
	paths       paths
	state       state
	programDirs programDirs
	authority   *pki.Authority
	progress    func(string)
}

// Open finds a cluster that Up has made under this name in the default state directory.
func Open(name string) (*Cluster, error) {
	dir, err := defaultStateDir(name)
	if err != nil {
		return nil, err
	}
	return OpenDir(dir)
}

// OpenDir finds a cluster by its state directory.
func OpenDir(dir string) (*Cluster, error) {
	p := paths{dir: dir}
	s, err := loadState(p)
	if errors.Is(err, errNoCluster) {
		return nil, fmt.Errorf("no cluster %s exists: bring it up first (looked in %s)", filepath.Base(dir), dir)
	}
	if err != nil {
		return nil, err
	}
	return &Cluster{paths: p, state: s, progress: func(string) {}}, nil
}

// Name is the cluster's name.
func (c *Cluster) Name() string { return c.state.Name }

// StateDir is the directory that holds all the cluster has written.
func (c *Cluster) StateDir() string { return c.paths.dir }

// Kubeconfig is the path of the admin's kubeconfig. Its server is on this machine's 127.0.0.1.
func (c *Cluster) Kubeconfig() string { return c.paths.kubeconfig() }

// RESTConfig is the admin's client configuration.
func (c *Cluster) RESTConfig() (*rest.Config, error) {
	if c.state.ControlPlane == ControlPlaneNone {
		return nil, fmt.Errorf("cluster %s has no control plane: bring it up with one", c.state.Name)
	}
	return clientcmd.BuildConfigFromFlags("", c.paths.kubeconfig())
}

// Registry is the host and port that image names start with inside the cluster. It speaks plain HTTP.
func (c *Cluster) Registry() string {
	if c.state.Loopback {
		return c.HostRegistry()
	}
	return registryAddress
}

// HostRegistry is the same registry as this machine's programs reach it.
func (c *Cluster) HostRegistry() string {
	return fmt.Sprintf("127.0.0.1:%d", c.state.Ports.Registry)
}

// Push puts an image into the cluster's registry under a reference such as "test/data:1". Nodes pull it as
// Registry()/test/data:1, and by the name of any other registry too: docker.io/test/data:1 is the same image.
// "private/USER/app:1" is for USER alone, with RegistryPassword. "faulty/KIND/app:1" cannot be pulled, because of the
// fault KIND, until "faulty/KIND/app:healed" is pushed; the kinds are numbers of HTTP statuses, hang, cut and digest.
func (c *Cluster) Push(ctx context.Context, reference string, image v1.Image) error {
	ref, err := name.ParseReference(c.HostRegistry()+"/"+reference, name.Insecure, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("push an image: %w", err)
	}
	options := []remote.Option{remote.WithContext(ctx)}
	if user := registry.Owner(ref.Context().RepositoryStr()); user != "" {
		options = append(options, remote.WithAuth(&authn.Basic{Username: user, Password: RegistryPassword(user)}))
	}
	if err := remote.Write(ref, image, options...); err != nil {
		return fmt.Errorf("push %s to the registry of cluster %s: %w", reference, c.state.Name, err)
	}
	return nil
}

// RegistryPassword is the password with which a user reads and writes the repositories below private/USER.
func RegistryPassword(user string) string { return registry.Password(user) }

// Nodes are the cluster's nodes, in the order in which they were added.
func (c *Cluster) Nodes() []*Node {
	var nodes []*Node
	for _, n := range c.state.Nodes {
		nodes = append(nodes, &Node{cluster: c, state: n})
	}
	return nodes
}

// Node finds a node by name.
func (c *Cluster) Node(name string) (*Node, error) {
	n, found := c.state.node(name)
	if !found {
		return nil, fmt.Errorf("cluster %s has no node %q", c.state.Name, name)
	}
	return &Node{cluster: c, state: n}, nil
}

// Running reports whether the control plane's process runs, which also serves the registry.
func (c *Cluster) Running() bool { return c.process(controlPlaneProcess).Running() }

// process is the recorded process of this name; one that runs nowhere if there is no record that can be read.
func (c *Cluster) process(name string) process.Identity {
	identity, err := process.Load(c.paths.process(name))
	if err != nil {
		return process.Identity{}
	}
	return identity
}
