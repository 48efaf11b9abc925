package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// mountsInsideAVolume has containers mount in their volumes, and the runtime a termination message, and wants the pods to
// end all the same.
func mountsInsideAVolume(t *testing.T, s *suite) {
	for class, node := range nodes() {
		name := "nested-" + class
		nested := strings.NewReplacer(
			"trap 'exit 1' TERM;", "mkdir /image/more; mount -t tmpfs inner /image/more; mkdir /image/more/d; mount -t tmpfs inner /image/more/d; trap 'exit 1' TERM;",
			"mountPath: /image}", "mountPath: /image, mountPropagation: Bidirectional}",
			"      volumeMounts:", "      terminationMessagePath: /image/message\n      securityContext: {privileged: true}\n      volumeMounts:",
		).Replace(pod(name, class, inline(knownImage, false)))
		s.apply(t, nested)
		s.waitReady(t, name)
		for _, at := range []string{"/image/more", "/image/more/d", "/image/message"} {
			wait := fmt.Sprintf("for i in $(seq 20); do grep -q ' %s ' /proc/self/mountinfo && exit 0; sleep 1; done; exit 1", at)
			if _, err := s.exec(t, name, "sh", "-c", wait); err != nil {
				t.Errorf("%s: nothing is mounted at %s: %v", class, at, err)
			}
		}
		s.deletePods(t, name)
		s.waitForWritableDirectories(t, node, 0)
	}
}
