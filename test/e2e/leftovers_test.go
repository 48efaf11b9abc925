package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nodeRoot is a node's root file system as seen from here.
func (s *suite) nodeRoot(t *testing.T, node string) string {
	t.Helper()
	n, err := s.cluster.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	return n.Root()
}

// writableDirectories counts the writable volumes whose data is on a node.
func (s *suite) writableDirectories(t *testing.T, node string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.nodeRoot(t, node), "var/lib/kubelet/plugins", driver, "volumes", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// nothingLeft wants no mount of ours, no pin in the runtime and no data on a node.
func (s *suite) nothingLeft(t *testing.T, class, node string) {
	t.Helper()
	root := s.nodeRoot(t, node)
	mounts, err := os.ReadFile(filepath.Join(root, "proc/1/mountinfo"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "imagecsi:") {
			t.Errorf("%s: a mount is left: %s", node, line)
		}
	}
	if left := s.writableDirectories(t, node); left != 0 {
		t.Errorf("%s: %d writable directories are left", node, left)
	}
	for _, name := range []string{driver, alias} {
		for _, socket := range []string{"plugins_registry/" + name + "-reg.sock", "plugins/" + name + "/*.sock"} {
			if found, err := filepath.Glob(filepath.Join(root, "var/lib/kubelet", socket)); err != nil || len(found) != 0 {
				t.Errorf("%s: %q is left (%v)", node, found, err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(root, "var/lib/kubelet/plugins", alias)); !os.IsNotExist(err) {
		t.Errorf("%s: the alias has a directory (%v)", node, err)
	}
	if pins := s.pins(t, class, node); pins != "" {
		t.Errorf("%s: the runtime still holds pins of ours: %s", node, pins)
	}
}

// pins lists what the driver keeps in a node's runtime.
func (s *suite) pins(t *testing.T, class, node string) string {
	t.Helper()
	if class == "containerd" {
		n, err := s.cluster.Node(node)
		if err != nil {
			t.Fatal(err)
		}
		out, err := n.Command(t.Context(), "ctr", "-n", "k8s.io", "snapshots", "ls").CombinedOutput()
		if err != nil {
			t.Fatalf("list containerd's snapshots: %v: %s", err, out)
		}
		return keep(string(out), "imagecsi")
	}
	containers, err := os.ReadFile(filepath.Join(s.nodeRoot(t, node), "var/lib/containers/storage/overlay-containers/containers.json"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(containers), "imagecsi") {
		return fmt.Sprintf("containers.json: %s", containers)
	}
	return ""
}

func keep(text, word string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
