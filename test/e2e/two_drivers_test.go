package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// secondDriver is one with other names than the first, on the same nodes and images.
const secondDriver = "second.example.com"

// twoDrivers runs a second driver beside the first one, mounts an image by both in one pod on each node, and removes the
// second one, which takes nothing from the first.
func twoDrivers(t *testing.T, s *suite) {
	s.apply(t, "{apiVersion: storage.imagecsi.dev/v1alpha1, kind: ImageCSIDriver, metadata: {name: "+secondDriver+"}, spec: {}}")
	s.waitFor(t, soon, "True", "get", "imagecsidriver", secondDriver, "-o", `jsonpath={.status.conditions[?(@.type=="Available")].status}`)
	var manifests []string
	for class := range nodes() {
		manifests = append(manifests, pod("both-"+class, class,
			inline(knownImage, true), inlineOf(secondDriver, knownImage, true), inlineOf(secondDriver, knownImage, false)))
	}
	s.apply(t, manifests...)
	s.waitReady(t, onEach("both")...)
	for _, pod := range onEach("both") {
		got := s.run(t, pod, "sh", "-c", "echo mine >/image2/hello.txt && cat /image/hello.txt /image1/hello.txt /image2/hello.txt")
		if want := known + known + "mine"; got != want {
			t.Errorf("%s: the volumes hold %q, want %q", pod, got, want)
		}
	}
	s.deletePods(t, onEach("both")...)
	s.must(t, "delete", "imagecsidriver", secondDriver, "--wait", "--timeout=120s")
	for class, node := range nodes() {
		s.waitFor(t, soon, "", "get", "csinode", node, "-o", fmt.Sprintf("jsonpath={.spec.drivers[?(@.name==%q)].name}", secondDriver))
		poll.Until(t, "nothing of the second driver is left on "+node, soon, func() error { return s.leftOf(t, secondDriver, node) })
		if got := s.run(t, "reader-"+class, "cat", "/image/hello.txt"); got != strings.TrimSpace(known) {
			t.Errorf("%s: after the second driver went, /image/hello.txt holds %q", class, got)
		}
		if s.pins(t, class, node) == "" {
			t.Errorf("%s: the second driver took the first one's pin along", node)
		}
	}
	s.waitFor(t, soon, "True", "get", "imagecsidriver", driver, "-o", `jsonpath={.status.conditions[?(@.type=="Available")].status}`)
}

// leftOf returns what a driver has left on a node: mounts, or what pods wrote.
func (s *suite) leftOf(t *testing.T, driver, node string) error {
	t.Helper()
	root := s.nodeRoot(t, node)
	mounts, err := os.ReadFile(filepath.Join(root, "proc/1/mountinfo"))
	if err != nil {
		return err
	}
	if strings.Contains(string(mounts), "imagecsi:"+driver+"@") {
		return fmt.Errorf("there are mounts of %s", driver)
	}
	data, err := filepath.Glob(filepath.Join(root, "var/lib/kubelet/plugins", driver, "volumes", "*"))
	if err == nil && len(data) > 0 {
		err = fmt.Errorf("there is data of %s: %q", driver, data)
	}
	return err
}
