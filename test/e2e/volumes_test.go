package e2e

import (
	"fmt"
	"strconv"
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
		got := s.run(t, pod, "sh", "-c", "cd /; cat image/hello.txt image1/hello.txt; stat -c %i image/hello.txt image1/hello.txt")
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
		if got := s.run(t, pod, "cat", "/image/hello.txt"); got != strings.TrimSpace(known) {
			t.Errorf("%s: /image/hello.txt holds %q", pod, got)
		}
		if i == 0 { // which takes nothing away from the others
			s.deletePods(t, pod)
		}
	}
	s.deletePods(t, pods[1:]...)
	s.dropClaims(t, "shared")
}

// limitedVolume fills a volume up to its size limit. Where the node's file system has project quotas they hold it, elsewhere
// memory does, which counts as the pod's own.
func limitedVolume(t *testing.T, s *suite) {
	const limit = 8 << 20
	var manifests []string
	for class := range nodes() {
		volume := strings.Replace(inline(knownImage, false), "volumeAttributes: {", "volumeAttributes: {sizeLimit: 8Mi, ", 1)
		manifests = append(manifests, pod("limited-"+class, class, volume))
	}
	s.apply(t, manifests...)
	s.waitReady(t, onEach("limited")...)
	for _, pod := range onEach("limited") {
		before := s.podMemory(t, pod)
		said := s.run(t, pod, "sh", "-c", "dd if=/dev/zero of=/image/big bs=1M count=16 2>&1; df -k /image | tail -n 1")
		if !strings.Contains(said, "No space left on device") && !strings.Contains(said, "Disk quota exceeded") {
			t.Errorf("%s: 16 MiB into a volume of 8: %s", pod, said)
		}
		if size := strings.Fields(said[strings.LastIndex(said, "\n")+1:]); len(size) < 2 || size[1] != fmt.Sprint(limit>>10) {
			t.Errorf("%s: df shows %q", pod, size)
		}
		if grown := s.podMemory(t, pod) - before; s.isInMemory(t, pod) && grown < limit*3/4 {
			t.Errorf("%s: the pod's shared memory grew by %d bytes when it wrote %d", pod, grown, limit)
		}
		s.run(t, pod, "sh", "-c", "rm /image/big && echo mine >/image/hello.txt")
	}
	s.deletePods(t, onEach("limited")...)
	for _, node := range nodes() {
		s.waitForWritableDirectories(t, node, 0)
	}
}

// isInMemory reports whether what a pod writes to its volume stays in memory.
func (s *suite) isInMemory(t *testing.T, pod string) bool {
	t.Helper()
	return strings.Contains(s.run(t, pod, "grep", " /image ", "/proc/self/mountinfo"), "/memory/upper")
}

// podMemory is how much shared memory, which files of a tmpfs are, counts as a pod's container's.
func (s *suite) podMemory(t *testing.T, pod string) int {
	t.Helper()
	text := s.run(t, pod, "sh", "-c", "cat /sys/fs/cgroup/memory/memory.stat /sys/fs/cgroup/memory.stat 2>/dev/null | sed -n 's/^shmem //p'")
	shared, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: shared memory %q: %v", pod, text, err)
	}
	return shared
}

// dropClaims deletes claims and their volumes.
func (s *suite) dropClaims(t *testing.T, names ...string) {
	t.Helper()
	s.must(t, append([]string{"delete", "pvc"}, names...)...)
	s.must(t, append([]string{"delete", "pv"}, names...)...)
}
