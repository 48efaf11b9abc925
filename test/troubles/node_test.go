package troubles

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// docker is a node whose container runtime cannot be shared, as its kubelet would describe it.
const docker = "{apiVersion: v1, kind: Node, metadata: {name: old-1}, status: {nodeInfo: {containerRuntimeVersion: 'docker://27.0.3', operatingSystem: linux, " +
	"architecture: amd64, bootID: '', kernelVersion: '', kubeProxyVersion: '', kubeletVersion: v1.36.0, machineID: '', osImage: Debian, systemUUID: ''}}}"

// fullDirectory is where the driver keeps what pods write.
const fullDirectory = "/var/lib/kubelet/plugins/" + driver + "/volumes"

// onNode runs a command in a node.
func (s *suite) onNode(t *testing.T, node, program string, args ...string) {
	t.Helper()
	n, err := s.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	if said, err := n.Command(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s on node %s: %v: %s", program, node, err, said)
	}
}

// nodeTroubles are those with a node. Each leaves the node as it was.
func nodeTroubles(s *suite) []trouble {
	return []trouble{
		{
			name: "a node is left out",
			make: func(t *testing.T, s *suite) {
				s.Must(t, "label", "node", "n2", "imagecsi.dev/exclude=true")
				s.WaitFor(t, soon, "", "get", "csinode", "n2", "-o", "jsonpath={.spec.drivers[*].name}")
				s.Apply(t, pod("excluded", volume(tools, readOnly), on("n2")))
			},
			asks: []question{admin("imagecsi why pod/excluded -n "+team, "(NodeExcluded)", "leaves node n2 out")},
			cure: func(t *testing.T, a answer) { a.run(t, "kubectl label node n2 imagecsi.dev/exclude-") },
			well: "pod/excluded",
		},
		{
			name: "a node has a container runtime that is not supported",
			make: func(t *testing.T, s *suite) {
				s.Apply(t, docker)
				if _, err := s.Kubectl(t.Context(), docker, "apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-"); err != nil {
					t.Fatal(err)
				}
				s.Apply(t, pod("docker", volume(tools, readOnly), "nodeName: old-1"))
			},
			asks: []question{
				admin("imagecsi why pod/docker -n "+team, "(NodeUnsupported)", "node old-1 cannot serve image volumes", "run the pod on another node"),
				admin("imagecsi nodes", "RuntimeUnsupported"),
			},
			cure: func(t *testing.T, a answer) {
				a.suite.Must(t, "-n", team, "delete", "pod", "docker", "--force", "--grace-period=0")
				a.suite.Must(t, "delete", "node", "old-1")
				a.suite.Apply(t, pod("docker", volume(tools, readOnly)))
			},
			well: "pod/docker",
		},
		{
			name: "the node's disk is full",
			make: func(t *testing.T, s *suite) {
				s.onNode(t, "n2", "mkdir", "-p", fullDirectory)
				s.onNode(t, "n2", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", fullDirectory)
				s.onNode(t, "n2", "sh", "-c", "cat /dev/zero >"+fullDirectory+"/log 2>/dev/null || true")
				s.Apply(t, pod("disk-full", volume(tools), on("n2")))
			},
			asks: []question{why("pod/disk-full", "(DiskFull)", "a file system of node n2 is full", fullDirectory, "remove unused images and logs there")},
			cure: func(t *testing.T, a answer) {
				s.onNode(t, "n2", "rm", filepath.Join(fullDirectory, "log"))
				s.waitWell(t, "pod/disk-full")
				s.Must(t, "-n", team, "delete", "pod", "disk-full", "--wait")
				poll.Until(t, "the small disk to go", soon, func() error {
					n, err := s.Node("n2")
					if err != nil {
						return err
					}
					if said, err := n.Command(t.Context(), "umount", fullDirectory).CombinedOutput(); err != nil {
						return fmt.Errorf("%w: %s", err, said)
					}
					return nil
				})
			},
		},
		{
			name: "the container runtime does not answer",
			make: func(t *testing.T, s *suite) {
				s.Apply(t, pod("silent", volume("registry.example/elsewhere/tools:1", readOnly), "nodeName: n2"))
				s.onNode(t, "n2", "pkill", "-STOP", "-x", "containerd")
			},
			asks: []question{why("pod/silent", "(RuntimeDown)", "systemctl status containerd")},
			cure: func(t *testing.T, a answer) { s.onNode(t, "n2", "pkill", "-CONT", "-x", "containerd") },
			well: "pod/silent",
		},
		{
			name: "a node is dead",
			make: func(t *testing.T, s *suite) {
				n, err := s.Node("n2")
				if err != nil {
					t.Fatal(err)
				}
				if err := n.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.Must(t, "wait", "node/n2", "--for=condition=Ready=Unknown", "--timeout=2m")
				s.Apply(t, pod("dead", volume(tools, readOnly), on("n2")))
			},
			asks: []question{
				why("pod/dead", "(NodeTainted)", "the node is down", "kubectl get nodes"),
				admin("imagecsi nodes --problems", "n2", "NodeDown"),
			},
			cure: func(t *testing.T, a answer) {
				n, err := s.Node("n2")
				if err != nil {
					t.Fatal(err)
				}
				if err := n.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
			well: "pod/dead",
		},
	}
}
