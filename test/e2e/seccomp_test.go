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
// into a file on the node and says so. All steps after this one run under the profile.
func narrowSeccompProfile(t *testing.T, s *suite) {
	const class = "containerd"
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
	path := filepath.Join(s.nodeRoot(t, nodes()[class]), "var/lib/kubelet/seccomp", file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(s.must(t, "get", "seccompprofile", name, "-o", "jsonpath={.spec}")), 0o644); err != nil {
		t.Fatal(err)
	}
	s.must(t, "patch", "seccompprofile", name, "--subresource=status", "--type=merge",
		"-p", fmt.Sprintf(`{"status": {"status": "Installed", "localhostProfile": %q}}`, file))
	s.waitFor(t, soon, file+" true", "-n", s.namespace, "get", "pods", "-l", "imagecsi.dev/driver="+driver+",imagecsi.dev/node-class="+class,
		"-o", "jsonpath={.items[*].spec.containers[0].securityContext.seccompProfile.localhostProfile} {.items[*].status.containerStatuses[0].ready}")

	containerdPodIsScoped(t, s)
	s.apply(t, pod("narrow-reads", class, inline(knownImage, true)), pod("narrow-writes", class, inline(knownImage, false)))
	s.waitReady(t, "narrow-reads", "narrow-writes")
	s.run(t, "narrow-writes", "sh", "-c", "echo mine >/image/hello.txt && rm -r /image/sub")
	for name, want := range map[string]string{"narrow-reads": strings.TrimSpace(known), "narrow-writes": "mine"} {
		if got := s.run(t, name, "cat", "/image/hello.txt"); got != want {
			t.Errorf("%s: /image/hello.txt holds %q, want %q", name, got, want)
		}
	}
	s.deletePods(t, "narrow-reads", "narrow-writes")
}
