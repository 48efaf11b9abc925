package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// developer may view the namespace of the pods, and nothing else.
const developer = "system:serviceaccount:default:developer"

// pluginShows has the administrator see that all is well, and a developer the volumes of a namespace.
func pluginShows(t *testing.T, s *suite) {
	s.must(t, "create", "serviceaccount", "developer")
	s.must(t, "create", "rolebinding", "developer", "--clusterrole=view", "--serviceaccount=default:developer")
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{[]string{"status"}, []string{driver, "2/2 ready", "containerd", "crio"}},
		{[]string{"nodes"}, []string{"n1 containerd", "n2 crio", "Ready"}},
		{[]string{"volumes", "--as", developer}, []string{"reader-containerd", "reader-crio", knownImage, "Mounted", "you may not read"}},
		{[]string{"why", "pod/reader-crio", "--as", developer}, []string{"waits for none of its 1 image volumes"}},
	} {
		said := strings.Join(strings.Fields(s.must(t, append([]string{"imagecsi"}, c.args...)...)), " ")
		for _, word := range c.words {
			if !strings.Contains(said, word) {
				t.Errorf("kubectl imagecsi %v does not say %q:\n%s", c.args, word, said)
			}
		}
	}
}

// tellsWhy has `kubectl imagecsi why` name the cause for which a pod waits, and its cure, to a developer.
func (s *suite) tellsWhy(t *testing.T, pod, cause, cure string) {
	t.Helper()
	poll.Until(t, "kubectl imagecsi to name the cause of "+pod, soon, func() error {
		said, err := s.kubectl(t.Context(), "", "imagecsi", "why", "pod/"+pod, "--as", developer)
		if err == nil || !strings.Contains(err.Error(), "exit status 1") {
			return fmt.Errorf("the exit code is not 1: %w\n%s", err, said)
		}
		if !strings.Contains(said, "("+cause+")") || !strings.Contains(said, cure) {
			return fmt.Errorf("want the cause %s and the cure %q:\n%s", cause, cure, said)
		}
		t.Log(said)
		return nil
	})
}
