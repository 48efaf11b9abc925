package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// narrowSeccompProfile plays the Security Profiles Operator, which comes after the driver: it writes the driver's profile
// into a file on the nodes and says so. No node plugin is privileged now, and in all steps after this one those that are not
// run under the profile.
func narrowSeccompProfile(t *testing.T, s *suite) {
	s.must(t, "apply", "-f", "controllers/testdata/optional_kinds.yaml")
	s.must(t, "patch", "imagecsidriver", driver, "--type=merge", "-p", `{"spec": {"nodePlugin": {"seccompProfile": "Narrow"}}}`)
	name := ""
	poll.Until(t, "the driver has a SeccompProfile", soon, func() error {
		found, err := s.kubectl(t.Context(), "", "get", "seccompprofiles", "-o", "jsonpath={.items[*].metadata.name}")
		if err == nil && found == "" {
			err = errors.New("there is none")
		}
		name = found
		return err
	})
	file := "operator/" + name + ".json"
	profile := []byte(s.must(t, "get", "seccompprofile", name, "-o", "jsonpath={.spec}"))
	for _, node := range nodes() {
		path := filepath.Join(s.nodeRoot(t, node), "var/lib/kubelet/seccomp", file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, profile, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.must(t, "patch", "seccompprofile", name, "--subresource=status", "--type=merge",
		"-p", fmt.Sprintf(`{"status": {"status": "Installed", "localhostProfile": %q}}`, file))
	for class := range nodes() {
		s.waitFor(t, soon, file+" true", "-n", s.namespace, "get", "pods", "-l", "imagecsi.dev/driver="+driver+",imagecsi.dev/node-class="+class,
			"-o", "jsonpath={.items[*].spec.containers[0].securityContext.seccompProfile.localhostProfile} {.items[*].status.containerStatuses[0].ready}")
		podIsScoped(t, s, class)
		s.apply(t, pod("narrow-reads-"+class, class, inline(knownImage, true)), pod("narrow-writes-"+class, class, inline(knownImage, false)))
	}
	pods := append(onEach("narrow-reads"), onEach("narrow-writes")...)
	s.waitReady(t, pods...)
	for class := range nodes() {
		s.run(t, "narrow-writes-"+class, "sh", "-c", "echo mine >/image/hello.txt && rm -r /image/sub")
		for name, want := range map[string]string{"narrow-reads-" + class: strings.TrimSpace(known), "narrow-writes-" + class: "mine"} {
			if got := s.run(t, name, "cat", "/image/hello.txt"); got != want {
				t.Errorf("%s: /image/hello.txt holds %q, want %q", name, got, want)
			}
		}
	}
	s.deletePods(t, pods...)
}
