package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// inspector may ask node plugins, and nothing else.
const inspector = "system:serviceaccount:default:inspector"

// developer may view the namespace of the pods, and nothing else.
const developer = "system:serviceaccount:default:developer"

// pluginShows has the administrator see that all is well, and a developer the volumes of a namespace.
func pluginShows(t *testing.T, s *suite) {
	s.must(t, "create", "serviceaccount", "developer")
	s.must(t, "create", "serviceaccount", "inspector")
	s.must(t, "-n", s.namespace, "create", "rolebinding", "inspector", "--role=image-csi-inspector", "--serviceaccount=default:inspector")
	s.must(t, "create", "rolebinding", "developer", "--clusterrole=view", "--serviceaccount=default:developer")
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{[]string{"node", "n1"}, []string{driver + " on node n1", "default/reader-containerd", knownImage, "ReadOnly", "Pinned", "seccomp Filter", "containerd"}},
		{[]string{"node", "n2"}, []string{driver + " on node n2", "default/reader-crio", knownImage, "ReadOnly", "Pinned", "cri-o"}},
		{[]string{"images", "--as", inspector}, []string{knownImage, "sha256:"}},
		{[]string{"pulls", "--as", inspector}, []string{"No pulls."}},
		{[]string{"status"}, []string{driver, "2/2 ready", "containerd", "crio"}},
		{[]string{"nodes"}, []string{"n1 containerd", "n2 crio", "Ready"}},
		{[]string{"volumes", "--as", developer}, []string{"reader-containerd", "reader-crio", knownImage, "Mounted", "you may not read"}},
		{[]string{"why", "pod/reader-crio", "--as", developer}, []string{"waits for none of its 1 image volumes"}},
		{[]string{"native"}, []string{"reader-containerd", "reader-crio", "Possible"}},
	} {
		said := strings.Join(strings.Fields(s.must(t, append([]string{"imagecsi"}, c.args...)...)), " ")
		for _, word := range c.words {
			if !strings.Contains(said, word) {
				t.Errorf("kubectl imagecsi %v does not say %q:\n%s", c.args, word, said)
			}
		}
	}
	s.bundleIsComplete(t)
}

// bundleIsComplete wants the log and the live view of both node plugins in what goes to those who help, and nothing missing.
func (s *suite) bundleIsComplete(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "support")
	s.must(t, "imagecsi", "support-bundle", "--dir", dir)
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Missing []any }
	if err := json.Unmarshal(manifest, &document); err != nil || len(document.Missing) != 0 {
		t.Errorf("something is missing in the bundle: %v\n%s", err, manifest)
	}
	for kind, word := range map[string]string{"logs": `"msg"`, "live": knownImage} {
		found := 0
		err := filepath.WalkDir(filepath.Join(dir, kind), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			found += min(1, bytes.Count(content, []byte(word)))
			return err
		})
		if err != nil || found < len(nodes()) {
			t.Errorf("of %s, %d files have %q, want those of %d node plugins: %v", kind, found, word, len(nodes()), err)
		}
	}
}

// onlyInspectorsAsk wants others to be told the role, and the live view on no address but the loopback of the pod.
func onlyInspectorsAsk(t *testing.T, s *suite) {
	said, err := s.kubectl(t.Context(), "", "imagecsi", "images", "--as", developer)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "image-csi-inspector") {
		t.Errorf("a developer who asks node plugins gets %q, %v", said, err)
	}
	for class, node := range nodes() {
		process := filepath.Dir(filepath.Dir(filepath.Dir(s.threadsOf(t, node, contract.NodePluginBinary)[0])))
		found := listeners(t, process)
		live := fmt.Sprintf("%s:%04X", loopback, contract.LivePort)
		if len(found) != 2 || !slices.Contains(found, live) {
			t.Errorf("%s: the node plugin listens at %v, and should at %s and for health and metrics", class, found, live)
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
