package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// listening is the state of a socket in the kernel's tables of sockets (include/net/tcp_states.h), loopback its address there.
const (
	listening = "0A"
	loopback  = "0100007F"
)

// sharesTheNodesNetwork wants the node plugin of a class to have the network of its node, and to listen there on the loopback only.
func sharesTheNodesNetwork(t *testing.T, s *suite, class string) {
	t.Helper()
	node := nodes()[class]
	process := filepath.Dir(filepath.Dir(filepath.Dir(s.threadsOf(t, node, contract.NodePluginBinary)[0])))
	if its, nodes := networkOf(t, process), networkOf(t, filepath.Join(s.nodeRoot(t, node), "proc/1")); its != nodes {
		t.Errorf("%s: the node plugin has the network %s, and its node %s", class, its, nodes)
	}
	found := listeners(t, process)
	if len(found) == 0 {
		t.Errorf("%s: the node plugin listens nowhere", class)
	}
	for _, address := range found {
		if host, _, _ := strings.Cut(address, ":"); host != loopback {
			t.Errorf("%s: the node plugin listens at %s, where others reach it", class, address)
		}
	}
	if got := s.must(t, "get", "imagecsidriver", driver, "-o", `jsonpath={.status.nodeClasses[?(@.name=="`+class+`")].confinement.network}`); got != "Host" {
		t.Errorf("%s: the status has network %q", class, got)
	}
}

func networkOf(t *testing.T, process string) string {
	t.Helper()
	namespace, err := os.Readlink(filepath.Join(process, "ns/net"))
	if err != nil {
		t.Fatal(err)
	}
	return namespace
}

// listeners are the addresses, as the kernel writes them, at which a process listens for TCP.
func listeners(t *testing.T, process string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(process, "fd/*"))
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]bool{}
	for _, file := range files {
		if to, err := os.Readlink(file); err == nil {
			open[to] = true
		}
	}
	var found []string
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		content, err := os.ReadFile(filepath.Join(process, table))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			if fields := strings.Fields(line); len(fields) > 9 && fields[3] == listening && open[fmt.Sprintf("socket:[%s]", fields[9])] {
				found = append(found, fields[1])
			}
		}
	}
	return found
}
