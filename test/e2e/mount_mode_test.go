package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// crioLosesItsPrivileges has the CRI-O node's node plugin mount in the host's namespace, while pods use what the privileged one
// mounted, and join the network of its node. It leaves pods that use what the other one mounted.
func crioLosesItsPrivileges(t *testing.T, s *suite) busy {
	node := nodes()["crio"]
	before := s.busyPodsOnCRIO(t, "before")
	s.setMountMode(t, `[{"name": "crio", "mountMode": "Nsenter", "network": "Host"}]`, "Nsenter", "false")
	podIsScoped(t, s, "crio")
	sharesTheNodesNetwork(t, s, "crio")
	whoTakesOverAnUnprivilegedNodePluginOfCRIOGetsNoMore(t, s)
	before.stillWork(t)
	before.end(t)
	s.sharedMemoryIsGone(t)
	s.waitForWritableDirectories(t, node, 0)
	for _, step := range []func(*testing.T, *suite){writableVolume, mountsInsideAVolume} {
		step(t, s)
	}
	return s.busyPodsOnCRIO(t, "during")
}

// crioRegainsItsPrivileges goes back to the class's own mount mode, while pods use what the unprivileged node plugin mounted.
func crioRegainsItsPrivileges(t *testing.T, s *suite, during busy) {
	during.stillWork(t)
	s.setMountMode(t, "null", "Bidirectional", "true")
	during.stillWork(t)
	after := s.busyPodsOnCRIO(t, "after")
	during.end(t)
	s.sharedMemoryIsGone(t)
	s.waitForWritableDirectories(t, nodes()["crio"], 1)
	after.stillWork(t)
	after.end(t)
	s.waitForWritableDirectories(t, nodes()["crio"], 0)
}

// busyPodsOnCRIO starts a pod that reads and one that writes on the CRI-O node.
func (s *suite) busyPodsOnCRIO(t *testing.T, name string) busy {
	t.Helper()
	b := busy{suite: s, rounds: map[string]int{}}
	b.start(t, name, "crio")
	b.stillWork(t)
	return b
}

// setMountMode sets the driver's node classes, and waits until class crio's node plugin has the mode, is privileged or not, and is
// ready.
func (s *suite) setMountMode(t *testing.T, classes, mode, privileged string) {
	t.Helper()
	s.must(t, "patch", "imagecsidriver", driver, "--type=merge", "-p", `{"spec": {"nodeClasses": `+classes+`}}`)
	s.waitFor(t, soon, privileged+" true", "-n", s.namespace, "get", "pods", "-l", "imagecsi.dev/driver="+driver+",imagecsi.dev/node-class=crio",
		"-o", "jsonpath={.items[*].spec.containers[0].securityContext.privileged} {.items[*].status.containerStatuses[0].ready}")
	s.waitFor(t, soon, mode, "get", "imagecsidriver", driver, "-o", `jsonpath={.status.nodeClasses[?(@.name=="crio")].mountMode}`)
}

// sharedMemoryIsGone wants CRI-O's node plugin to see the shared memory of the pods that run, and of no others: that takes memory as
// long as it is mounted anywhere.
func (s *suite) sharedMemoryIsGone(t *testing.T) {
	t.Helper()
	node := nodes()["crio"]
	process := filepath.Dir(filepath.Dir(filepath.Dir(s.threadsOf(t, node, "/node-plugin")[0])))
	poll.Until(t, "the node plugin loses the shared memory of pods that ended", 10*time.Second, func() error {
		seen, there := sharedMemory(t, filepath.Join(process, "mountinfo")), sharedMemory(t, filepath.Join(s.nodeRoot(t, node), "proc/1/mountinfo"))
		if len(seen) == 0 {
			return fmt.Errorf("it sees none, and the node has %q", there)
		}
		for _, at := range seen {
			if !slices.Contains(there, at) {
				return fmt.Errorf("it has what the node has not: %s", at)
			}
		}
		return nil
	})
}

// sharedMemory lists where a mount table has the shared memory of CRI-O's pods.
func sharedMemory(t *testing.T, table string) []string {
	t.Helper()
	content, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(content)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, "/run/containers/storage/") && strings.HasSuffix(at, "/shm") {
			found = append(found, at)
		}
	}
	return found
}
