package e2e

import (
	"fmt"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// powerCut cuts the power of each node while it runs two pods that write, and deletes one of them before the power is back.
func powerCut(t *testing.T, s *suite) {
	var manifests []string
	for class := range nodes() {
		for _, name := range []string{"kept-" + class, "deleted-" + class} {
			manifests = append(manifests, pod(name, class, inline(knownImage, false)))
		}
	}
	s.apply(t, manifests...)
	pods := append(onEach("kept"), onEach("deleted")...)
	s.waitReady(t, pods...)
	for _, pod := range pods {
		s.run(t, pod, "sh", "-c", "echo mine >/image/hello.txt && rm -r /image/sub && sync")
	}
	for class, node := range nodes() {
		n, err := s.cluster.Node(node)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.must(t, "delete", "pod", "deleted-"+class, "--force", "--grace-period=0", "--wait", "--timeout=90s")
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for class, node := range nodes() {
		for pod, want := range map[string]string{"kept-" + class: "mine\n/image", "reader-" + class: known + "/image\n/image/sub"} {
			poll.Until(t, pod+" runs again and reads what it should", soon, func() error {
				got, err := s.exec(t, pod, "sh", "-c", "cat /image/hello.txt; find /image -type d")
				if err != nil {
					return err
				}
				if got != want {
					return fmt.Errorf("got %q, want %q", got, want)
				}
				return nil
			})
		}
		s.waitForWritableDirectories(t, node, 1)
	}
	s.deletePods(t, onEach("kept")...)
	for _, node := range nodes() {
		s.waitForWritableDirectories(t, node, 0)
	}
}

// waitForWritableDirectories wants the data of that many writable volumes on a node.
func (s *suite) waitForWritableDirectories(t *testing.T, node string, want int) {
	t.Helper()
	poll.Until(t, fmt.Sprintf("%d writable volumes' data on %s", want, node), soon, func() error {
		if got := s.writableDirectories(t, node); got != want {
			return fmt.Errorf("there are %d", got)
		}
		return nil
	})
}
