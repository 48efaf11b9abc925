package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/flock"
)

// state is what a cluster's state directory says about it, in cluster.json. It is written before anything it names is
// made, so that Down finds everything.
type state struct {
	Name         string        `json:"name"`
	Kubernetes   string        `json:"kubernetes"`
	ControlPlane ControlPlane  `json:"controlPlane"`
	Loopback     bool          `json:"loopback"` // no nodes and no namespaces: all on 127.0.0.1
	Nodes        []nodeState   `json:"nodes,omitempty"`
	Ports        ports         `json:"ports"`
	Patience     time.Duration `json:"patience"` // nanoseconds; the last Up decides
}

// ports of 127.0.0.1. They stay the same for as long as the state is kept and no other process takes them.
type ports struct {
	APIServer int `json:"apiServer,omitempty"`
	Registry  int `json:"registry"`
	Etcd      int `json:"etcd,omitempty"`     // in a cluster without nodes only
	EtcdPeer  int `json:"etcdPeer,omitempty"` // likewise
}

type nodeState struct {
	Name    string  `json:"name"`
	Runtime Runtime `json:"runtime"`
	Kubelet Kubelet `json:"kubelet"`
	Index   int     `json:"index"` // from 1, decides the addresses

	Snapshotter Snapshotter `json:"snapshotter,omitempty"`
	OCIRuntime  OCIRuntime  `json:"ociRuntime,omitempty"`
}

// paths are the places in a state directory.
type paths struct{ dir string }

func (p paths) state() string               { return filepath.Join(p.dir, "cluster.json") }
func (p paths) kubeconfig() string          { return filepath.Join(p.dir, "kubeconfig") }
func (p paths) pki() string                 { return filepath.Join(p.dir, "pki") }
func (p paths) etcd() string                { return filepath.Join(p.dir, "etcd") }
func (p paths) registry() string            { return filepath.Join(p.dir, "registry") }
func (p paths) enter() string               { return filepath.Join(p.dir, "bin", "imagecsi-enter") }
func (p paths) log(name string) string      { return filepath.Join(p.dir, "log", name+".log") }
func (p paths) process(name string) string  { return filepath.Join(p.dir, "run", name+".json") }
func (p paths) nodeScratch(n string) string { return filepath.Join(p.dir, "nodes", n, "scratch") }
func (p paths) nodeDisk(n string) string    { return filepath.Join(p.dir, "nodes", n, "disk") }
func (p paths) nodeLogs(n string) string    { return filepath.Join(p.nodeDisk(n), "log") }

// controlPlaneProcess and nodeProcess name the records and the logs of processes.
const controlPlaneProcess = "control-plane"

func nodeProcess(name string) string { return "node-" + name }

// errNoCluster is returned for a state directory that holds no cluster.
var errNoCluster = errors.New("no such cluster")

func loadState(p paths) (state, error) {
	data, err := os.ReadFile(p.state())
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, errNoCluster
	}
	if err != nil {
		return state{}, err
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return state{}, fmt.Errorf("read %s: %w", p.state(), err)
	}
	// An older program wrote less.
	setDefault(&s.Patience, DefaultPatience)
	for i := range s.Nodes {
		if s.Nodes[i].Runtime == Containerd {
			setDefault(&s.Nodes[i].Snapshotter, Overlayfs)
		}
	}
	return s, nil
}

func (s state) save(p paths) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temporary := p.state() + ".new"
	if err := os.WriteFile(temporary, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, p.state())
}

// node finds a node's state by name.
func (s state) node(name string) (nodeState, bool) {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return nodeState{}, false
}

// merge adds to the state what the configuration asks for. What exists has to fit: a node cannot change its runtime,
// nor a cluster its control plane, without being taken down.
func (s *state) merge(c Config) error {
	loopback := len(c.Nodes) == 0
	if s.Name == "" {
		*s = state{Name: c.Name, Kubernetes: c.Kubernetes, ControlPlane: c.ControlPlane, Loopback: loopback}
	}
	switch {
	case s.Name != c.Name:
		return fmt.Errorf("directory %s holds cluster %s: choose another directory for cluster %s", c.StateDir, s.Name, c.Name)
	case s.Kubernetes != c.Kubernetes || s.ControlPlane != c.ControlPlane:
		return fmt.Errorf("cluster %s has Kubernetes %s and control plane %s: take it down before you change that", s.Name, s.Kubernetes, s.ControlPlane)
	case s.Loopback && !loopback:
		return fmt.Errorf("cluster %s was made without nodes and cannot get any: take it down first", s.Name)
	}
	s.Patience = c.Patience
	for _, want := range c.Nodes {
		have, exists := s.node(want.Name)
		if !exists {
			s.Nodes = append(s.Nodes, newNodeState(want, len(s.Nodes)+1))
			continue
		}
		setDefault(&have.OCIRuntime, Runc) // of a cluster from before there was a choice
		if have != newNodeState(want, have.Index) {
			return fmt.Errorf("node %s of cluster %s has runtime %s with %s, snapshotter %q and kubelet %s: take the cluster down before you change that",
				want.Name, s.Name, have.Runtime, have.OCIRuntime, have.Snapshotter, have.Kubelet)
		}
	}
	return nil
}

func newNodeState(n NodeConfig, index int) nodeState {
	return nodeState{Name: n.Name, Runtime: n.Runtime, Kubelet: n.Kubelet, Index: index, Snapshotter: n.Snapshotter, OCIRuntime: n.OCIRuntime}
}

// lock makes the state directory and keeps other programs from changing the cluster until unlock is called.
func lock(p paths) (unlock func(), err error) {
	for {
		if err := os.MkdirAll(filepath.Join(p.dir, "log"), 0o755); err != nil {
			return nil, fmt.Errorf("make the state directory: %w", err)
		}
		dir, err := os.Open(p.dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := flock.Lock(dir); err != nil {
			dir.Close()
			return nil, fmt.Errorf("lock %s: %w", p.dir, err)
		}
		// The last holder of the lock may have removed the directory; then another one counts now.
		if sameFile(dir, p.dir) {
			return func() { dir.Close() }, nil
		}
		dir.Close()
	}
}

func sameFile(f *os.File, path string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(opened, named)
}
