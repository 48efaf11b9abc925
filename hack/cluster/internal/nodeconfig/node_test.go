package nodeconfig

import (
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func testNode(runtime string) Node {
	return Node{
		Cluster: "demo", Name: "worker", Runtime: runtime, Address: "10.89.0.11", PodCIDR: "10.244.1.0/24",
		Registry: "10.89.0.1:5000", PauseImage: "10.89.0.1:5000/imagecsi/pause:1",
		Snapshotter: "overlayfs",
		Kubelet:     &Kubelet{APIServer: "https://10.89.0.1:6443", CACert: []byte("ca"), Kubeconfig: []byte("k"), KubeProxyKubeconfig: []byte("p")},
	}
}

func TestFilesNameTheSocketTheRegistryAndThePauseImage(t *testing.T) {
	for runtime, config := range map[string]string{
		Containerd:   "/etc/containerd/config.toml",
		Containerd16: "/etc/containerd/config.toml",
		CRIO:         "/etc/crio/crio.conf",
	} {
		t.Run(runtime, func(t *testing.T) {
			files, err := Files(testNode(runtime))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{Socket(runtime), "10.89.0.1:5000/imagecsi/pause:1", "/opt/cni/bin"} {
				if !strings.Contains(files[config], want) {
					t.Errorf("%s does not name %s", config, want)
				}
			}
			var kubelet struct{ ContainerRuntimeEndpoint string }
			if err := yaml.Unmarshal([]byte(files["/etc/kubernetes/kubelet.yaml"]), &kubelet); err != nil {
				t.Fatal(err)
			}
			if want := "unix://" + Socket(runtime); kubelet.ContainerRuntimeEndpoint != want {
				t.Errorf("the kubelet talks to %s, want %s", kubelet.ContainerRuntimeEndpoint, want)
			}
			if !json.Valid([]byte(files["/etc/cni/net.d/10-imagecsi.conflist"])) {
				t.Error("the network configuration is not JSON")
			}
		})
	}
}

func TestContainerdUnpacksWithTheNodesSnapshotter(t *testing.T) {
	for snapshotter, local := range map[string]string{"overlayfs": "false", "native": "true"} {
		node := testNode(Containerd)
		node.Snapshotter = snapshotter
		files, err := Files(node)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"snapshotter = '" + snapshotter + "'", "use_local_image_pull = " + local} {
			if !strings.Contains(files["/etc/containerd/config.toml"], want) {
				t.Errorf("%s: the configuration does not say %s", snapshotter, want)
			}
		}
	}
}

func TestLimitsOfRootAreHeededByEachRuntime(t *testing.T) {
	for runtime, want := range map[string]string{
		Containerd:   "restrict_oom_score_adj = true",
		Containerd16: "restrict_oom_score_adj = true",
		CRIO:         SelfDir + "/" + OCIRuntimeName,
	} {
		for _, limited := range []bool{true, false} {
			node := testNode(runtime)
			node.LimitedRoot = limited
			files, err := Files(node)
			if err != nil {
				t.Fatal(err)
			}
			config := files["/etc/containerd/config.toml"] + files["/etc/crio/crio.conf"]
			if strings.Contains(config, want) != limited {
				t.Errorf("%s, limited %v: %q is wrong in\n%s", runtime, limited, want, config)
			}
		}
	}
}

func TestBothRuntimesStartContainersWithCrun(t *testing.T) {
	for _, runtime := range []string{Containerd, CRIO} {
		for _, crun := range []bool{true, false} {
			node := testNode(runtime)
			node.Crun = crun
			files, err := Files(node)
			if err != nil {
				t.Fatal(err)
			}
			if config := files["/etc/containerd/config.toml"] + files["/etc/crio/crio.conf"]; strings.Contains(config, SelfDir+"/"+CrunName) != crun {
				t.Errorf("%s, with crun %v:\n%s", runtime, crun, config)
			}
		}
	}
}

func TestNodeWithoutKubeletRunsItsRuntimeOnly(t *testing.T) {
	node := testNode(CRIO)
	if got := len(Daemons(node)); got != 3 {
		t.Errorf("a whole node runs %d daemons, want 3", got)
	}
	node.Kubelet = nil
	if got := Daemons(node); len(got) != 1 || got[0].Name != "crio" {
		t.Errorf("got %v", got)
	}
	files, err := Files(node)
	if err != nil {
		t.Fatal(err)
	}
	for path := range files {
		if strings.HasPrefix(path, "/etc/kubernetes/") {
			t.Errorf("%s is there", path)
		}
	}
}

func TestMachineIDsDifferBetweenNodesAndClusters(t *testing.T) {
	a, b, c := testNode(CRIO), testNode(CRIO), testNode(CRIO)
	b.Name, c.Cluster = "other", "other"
	if machineID(a) == machineID(b) || machineID(a) == machineID(c) || machineID(a) != machineID(testNode(CRIO)) {
		t.Error("machine ids do not tell nodes apart")
	}
}
