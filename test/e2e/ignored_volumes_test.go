package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// ignoredVolumes takes the driver from under running pods and brings it back. The readers live on.
func ignoredVolumes(t *testing.T, s *suite) {
	var manifests []string
	for class := range nodes() {
		manifests = append(manifests, pod("stranded-"+class, class, inline(knownImage, false)))
	}
	s.apply(t, manifests...)
	s.waitReady(t, onEach("stranded")...)
	uid := s.must(t, "get", "imagecsidriver", driver, "-o", "jsonpath={.metadata.uid}")

	s.must(t, "patch", "imagecsidriver", driver, "--type=merge", "-p", `{"spec": {"volumesInUse": "Ignore"}}`)
	s.must(t, "delete", "imagecsidriver", driver, "--wait", "--timeout=120s")
	s.waitFor(t, soon, "", "-n", s.namespace, "get", "pods", "-l", "imagecsi.dev/driver="+driver, "-o", "name")
	s.waitFor(t, soon, "VolumesIgnored", "get", "events", "-A", "--field-selector", "involvedObject.uid="+uid+",reason=VolumesIgnored", "-o", "jsonpath={.items[*].reason}")
	for _, pod := range append(onEach("reader"), onEach("stranded")...) {
		if got := s.run(t, pod, "cat", "/image/hello.txt"); got != strings.TrimSpace(known) {
			t.Errorf("%s: without the driver /image/hello.txt holds %q", pod, got)
		}
	}
	for _, pod := range onEach("stranded") {
		s.run(t, pod, "sh", "-c", "echo mine >/image/mine")
		s.endContainer(t, pod)
		if got := s.run(t, pod, "cat", "/image/mine"); got != "mine" {
			t.Errorf("%s: the next container finds %q of what the first one wrote", pod, got)
		}
	}

	gone := onEach("stranded")
	s.must(t, append([]string{"delete", "pod", "--wait=false"}, gone...)...)
	for class, node := range nodes() {
		uid := s.must(t, "get", "pod", "stranded-"+class, "-o", "jsonpath={.metadata.uid}")
		s.waitForKubelet(t, node, uid, "TearDown", driver+" not found in the list of registered CSI drivers")
	}
	s.apply(t, changedDriver)
	s.waitFor(t, soon, "True", "get", "imagecsidriver", driver, "-o", `jsonpath={.status.conditions[?(@.type=="Available")].status}`)
	s.must(t, append([]string{"wait", "pod", "--for=delete", "--timeout=180s"}, gone...)...)
	for _, node := range nodes() {
		s.waitForWritableDirectories(t, node, 0)
	}
}

// kubeletLog returns the path of the log of a node's kubelet.
func (s *suite) kubeletLog(t *testing.T, node string) string {
	t.Helper()
	n, err := s.cluster.Node(node)
	if err != nil {
		t.Fatal(err)
	}
	path, err := n.Log("kubelet")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// waitForKubelet wants a line of a node's kubelet that has every word.
func (s *suite) waitForKubelet(t *testing.T, node string, words ...string) {
	t.Helper()
	path := s.kubeletLog(t, node)
	poll.Until(t, fmt.Sprintf("the kubelet of %s says %q", node, words), soon, func() error {
		log, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(log)) {
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
				return nil
			}
		}
		return errors.New("it does not")
	})
}
