package e2e

import (
	"slices"
	"strings"
	"testing"
)

// mountOptions wants options that hold in a pod to be taken and others to be named, and the mount in the pod to have the
// flags that docs/node-plugin.md describes.
func mountOptions(t *testing.T, s *suite) {
	with := func(name, options string) string {
		return strings.Replace(claim(name, knownImage+"#"+name, knownImage), "  storageClassName", "  mountOptions: ["+options+"]\n  storageClassName", 1)
	}
	s.apply(t, with("taken-options", "ro, noatime"), with("refused-options", "noexec, this-is-no-option"))
	s.failing(t, "options", claimed("refused-options"), "MountOptions", "mountOptions", "noexec", "would not hold in a pod")
	for class := range nodes() {
		name := "flags-" + class
		recursive := strings.Replace(pod("recursive-"+class, class, claimed("taken-options")), "mountPath: /image}",
			"mountPath: /image, readOnly: true, recursiveReadOnly: Enabled}", 1)
		s.apply(t, pod(name, class, claimed("taken-options")), recursive)
		s.waitReady(t, name, "recursive-"+class)
		if mount, fs := s.flags(t, name); !slices.Contains(fs, "ro") || slices.Contains(mount, "nosuid") || slices.Contains(mount, "nodev") {
			t.Errorf("%s: in a pod a volume has the flags %q and %q; if the runtime keeps them, say so in docs/node-plugin.md", class, mount, fs)
		}
		if mount, _ := s.flags(t, "recursive-"+class); !slices.Contains(mount, "ro") || !slices.Contains(mount, "nosuid") || !slices.Contains(mount, "nodev") {
			t.Errorf("%s: with recursiveReadOnly a volume has the flags %q in a pod", class, mount)
		}
		s.deletePods(t, name, "recursive-"+class)
	}
	s.dropClaims(t, "taken-options", "refused-options")
}

// flags are those of a volume's mount and of its file system, as its pod sees them (proc_pid_mountinfo(5), fields 6 and 11).
func (s *suite) flags(t *testing.T, pod string) (mount, fs []string) {
	t.Helper()
	line := strings.Fields(s.run(t, pod, "grep", " /image ", "/proc/self/mountinfo"))
	if len(line) < 10 {
		t.Fatalf("%s: the mount's line is %q", pod, line)
	}
	return strings.Split(line[5], ","), strings.Split(line[len(line)-1], ",")
}
