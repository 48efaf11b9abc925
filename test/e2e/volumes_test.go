package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// twoVolumesOfOneImage wants both of a pod's volumes to show the image, and to share its files.
func twoVolumesOfOneImage(t *testing.T, s *suite) {
	var manifests, claims []string
	for class := range nodes() {
		first, second := "first-"+class, "second-"+class
		claims = append(claims, first, second)
		manifests = append(manifests, claim(first, knownImage+"#"+first, knownImage), claim(second, knownImage+"#"+second, knownImage),
			pod("twice-"+class, class, claimed(first), claimed(second)))
	}
	s.apply(t, manifests...)
	s.waitReady(t, onEach("twice")...)
	for _, pod := range onEach("twice") {
		got := s.must(t, "exec", pod, "--", "sh", "-c", "cd /; cat image/hello.txt image1/hello.txt; stat -c %i image/hello.txt image1/hello.txt")
		content, inodes, _ := strings.Cut(got, known+known)
		if content != "" {
			t.Errorf("%s: the two volumes hold %q, want %q twice", pod, got, known)
		}
		if i := strings.Fields(inodes); len(i) != 2 || i[0] != i[1] {
			t.Errorf("%s: the two volumes show inodes %v of one file, want one", pod, i)
		}
	}
	s.deletePods(t, onEach("twice")...)
	s.dropClaims(t, claims...)
}

func oneVolumeManyPods(t *testing.T, s *suite) {
	const podsPerNode = 3
	manifests := []string{claim("shared", knownImage+"#shared", knownImage)}
	var pods []string
	for class := range nodes() {
		for i := range podsPerNode {
			name := fmt.Sprintf("sharer-%s-%d", class, i)
			pods = append(pods, name)
			manifests = append(manifests, pod(name, class, claimed("shared")))
		}
	}
	s.apply(t, manifests...)
	s.waitReady(t, pods...)
	for i, pod := range pods {
		if got := s.must(t, "exec", pod, "--", "cat", "/image/hello.txt"); got != strings.TrimSpace(known) {
			t.Errorf("%s: /image/hello.txt holds %q", pod, got)
		}
		if i == 0 { // which takes nothing away from the others
			s.deletePods(t, pod)
		}
	}
	s.deletePods(t, pods[1:]...)
	s.dropClaims(t, "shared")
}

// dropClaims deletes claims and their volumes.
func (s *suite) dropClaims(t *testing.T, names ...string) {
	t.Helper()
	s.must(t, append([]string{"delete", "pvc"}, names...)...)
	s.must(t, append([]string{"delete", "pv"}, names...)...)
}
