package cluster

import (
	"strings"
	"testing"
)

func TestConfigDefaults(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/cache")
	got, err := Config{Nodes: []NodeConfig{{Name: "n"}}}.complete()
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "demo" || got.StateDir != "/cache/image-csi-operator/clusters/demo" || got.Kubernetes != DefaultKubernetes || got.Patience != DefaultPatience {
		t.Errorf("got %+v", got)
	}
	if node := got.Nodes[0]; node.Runtime != Containerd || node.Kubelet != KubeletEnabled {
		t.Errorf("got node %+v", node)
	}
	got, err = Config{ControlPlane: ControlPlaneNone, Nodes: []NodeConfig{{Name: "n"}}}.complete()
	if err != nil || got.Nodes[0].Kubelet != KubeletDisabled {
		t.Errorf("without a control plane: got %+v and %v", got.Nodes, err)
	}
}

func TestConfigMistakesAreNamed(t *testing.T) {
	for want, config := range map[string]Config{
		`cluster name "A B"`:         {Name: "A B"},
		`control plane "Some"`:       {ControlPlane: "Some"},
		`node name "cp"`:             {Nodes: []NodeConfig{{Name: "cp"}}},
		`node name ""`:               {Nodes: []NodeConfig{{}}},
		`container runtime "docker"`: {Nodes: []NodeConfig{{Name: "n", Runtime: "docker"}}},
		`snapshotter "zfs"`:          {Nodes: []NodeConfig{{Name: "n", Snapshotter: "zfs"}}},
		`has a choice of snap`:       {Nodes: []NodeConfig{{Name: "n", Runtime: CRIO, Snapshotter: Native}}},
		`OCI runtime "kata"`:         {Nodes: []NodeConfig{{Name: "n", OCIRuntime: "kata"}}},
		`no other OCI runtime`:       {Nodes: []NodeConfig{{Name: "n", Runtime: Containerd16, OCIRuntime: Crun}}},
		`kubelet "Maybe"`:            {Nodes: []NodeConfig{{Name: "n", Kubelet: "Maybe"}}},
		`two nodes are called "n"`:   {Nodes: []NodeConfig{{Name: "n"}, {Name: "n"}}},
		`a kubelet needs a control`:  {ControlPlane: ControlPlaneNone, Nodes: []NodeConfig{{Name: "n", Kubelet: KubeletEnabled}}},
		`201 nodes are too many`:     {Nodes: make([]NodeConfig, 201)},
	} {
		if _, err := config.complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %s", err, want)
		}
	}
}

func TestNodesKeepTheirAddressesWhenOthersAreAdded(t *testing.T) {
	s := mergeInto(t, state{}, NodeConfig{Name: "a"})
	s = mergeInto(t, s, NodeConfig{Name: "b"}, NodeConfig{Name: "a"})
	a, _ := s.node("a")
	b, _ := s.node("b")
	if a.address() != "10.89.0.11" || b.address() != "10.89.0.12" || b.podCIDR() != "10.244.2.0/24" {
		t.Errorf("got %s and %s", a.address(), b.address())
	}
}

func TestWhatExistsCannotBeChangedByUp(t *testing.T) {
	withNode := mergeInto(t, state{}, NodeConfig{Name: "a"})
	for want, change := range map[string]Config{
		"node a of cluster demo has runtime containerd": {Nodes: []NodeConfig{{Name: "a", Runtime: CRIO}}},
		"has Kubernetes 1.37":                           {Kubernetes: "1.36", Nodes: []NodeConfig{{Name: "a"}}},
		"holds cluster demo":                            {Name: "other"},
	} {
		if err := withNode.merge(completed(t, change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %s", err, want)
		}
	}
	empty := mergeInto(t, state{})
	if err := empty.merge(completed(t, Config{Nodes: []NodeConfig{{Name: "a"}}})); err == nil {
		t.Error("a node was added to a cluster without namespaces")
	}
}

func TestAPIServerIsReachedByEveryAddressItsUsersHave(t *testing.T) {
	var all []string
	for _, ip := range apiServerIPs() {
		all = append(all, ip.String())
	}
	for _, want := range []string{"127.0.0.1", controlPlaneAddress, serviceAddress} {
		if !strings.Contains(strings.Join(all, " "), want) {
			t.Errorf("%s is missing in %v", want, all)
		}
	}
}

func mergeInto(t *testing.T, s state, nodes ...NodeConfig) state {
	t.Helper()
	if err := s.merge(completed(t, Config{Nodes: nodes})); err != nil {
		t.Fatal(err)
	}
	return s
}

func completed(t *testing.T, c Config) Config {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	done, err := c.complete()
	if err != nil {
		t.Fatal(err)
	}
	return done
}
