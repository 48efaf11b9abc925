package e2e

import (
	"archive/tar"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster/gobuild"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// privilegedImage holds a set-uid program of root's that prints its effective user ID, and a device that every container may open.
const privilegedImage = "registry.example/e2e/privileged:1"

// flagsReachPods has a program and a device of a volume do what they must not with config/mutation, and did without it. The policy
// stays for the steps that follow, which it must not disturb. This takes about 20 seconds.
func flagsReachPods(t *testing.T, s *suite) {
	pushPrivileged(t, s)
	for class := range nodes() {
		s.apply(t, privilegedPod("before-"+class, class))
	}
	s.waitReady(t, onEach("before")...)
	for _, pod := range onEach("before") {
		for _, program := range []string{"/image/bin/euid", "/part/euid"} {
			if got := s.run(t, pod, program); got != "0" {
				t.Errorf("%s: without the policy %s has euid %s; if the runtime keeps nosuid, say so in docs/node-plugin.md", pod, program, got)
			}
		}
		if _, err := s.exec(t, pod, "cat", "/image/null"); err != nil {
			t.Errorf("%s: without the policy a device cannot be opened (%v); if the runtime keeps nodev, say so in docs/node-plugin.md", pod, err)
		}
	}
	s.must(t, "apply", "--server-side", "-k", "config/mutation")
	poll.Until(t, "the policy is in effect", soon, func() error {
		got, err := s.kubectl(t.Context(), privilegedPod("tried", "containerd"), "create", "--dry-run=server", "-f", "-",
			"-o", "jsonpath={.spec.containers[0].volumeMounts[?(@.mountPath==\"/image\")].recursiveReadOnly}")
		if err == nil && got != "IfPossible" {
			err = fmt.Errorf("recursiveReadOnly is %q", got)
		}
		return err
	})
	for class := range nodes() {
		s.apply(t, privilegedPod("after-"+class, class))
	}
	s.waitReady(t, onEach("after")...)
	for _, pod := range onEach("after") {
		for _, program := range []string{"/image/bin/euid", "/part/euid"} {
			if got := s.run(t, pod, program); got != "1000" {
				t.Errorf("%s: %s has euid %s", pod, program, got)
			}
		}
		if _, err := s.exec(t, pod, "cat", "/image/null"); err == nil || !strings.Contains(err.Error(), "Permission denied") {
			t.Errorf("%s: opening a device of the volume: %v", pod, err)
		}
		// What the pod itself has mounted in the volume stays as it is.
		s.run(t, pod, "touch", "/image/sub/mine")
	}
	s.deletePods(t, append(onEach("before"), onEach("after")...)...)
}

// privilegedPod runs as user 1000. It mounts the image, a directory of it once more, and a directory of its own inside.
func privilegedPod(name, class string) string {
	return strings.NewReplacer(
		"mountPath: /image1}", "mountPath: /image/sub}",
		"      volumeMounts: [", "      securityContext: {runAsUser: 1000}\n      volumeMounts: [{name: image0, mountPath: /part, subPath: bin}, ",
	).Replace(pod(name, class, inline(privilegedImage, true), "emptyDir: {}"))
}

func pushPrivileged(t *testing.T, s *suite) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "euid")
	if err := gobuild.Program(t.Context(), filepath.Join(s.root, "test"), "./e2e/testdata/euid", program); err != nil {
		t.Fatal(err)
	}
	file, err := image.Program(program, "/bin/euid")
	file.Mode = 0o4755
	data, imageErr := image.Data([]image.File{file, {Path: "/sub", Directory: true},
		{Path: "/null", Mode: 0o666, Device: &image.Device{Type: tar.TypeChar, Major: 1, Minor: 3}}})
	if err := errors.Join(err, imageErr); err != nil {
		t.Fatal(err)
	}
	_, repository, _ := strings.Cut(privilegedImage, "/")
	if err := s.cluster.Push(t.Context(), repository, data); err != nil {
		t.Fatal(err)
	}
}
