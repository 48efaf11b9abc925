package e2e

import (
	"slices"
	"strings"
	"testing"
)

// mountOptions wants options that hold in a pod to be taken and others to be named, and the mount in the pod to have the
// flags that docs/node-plugin.md tells of.
func mountOptions(t *testing.T, s *suite) {
	with := func(name, options string) string {
		return strings.Replace(claim(name, knownImage+"#"+name, knownImage), "  storageClassName", "  mountOptions: ["+options+"]\n  storageClassName", 1)
	}
	s.apply(t, with("taken-options", "ro, noatime"), with("refused-options", "noexec, this-is-no-option"))
	s.eventOf(t, "options", claimed("refused-options"), `"noexec"`, "would not hold in a pod")
	for class := range nodes() {
		name := "flags-" + class
		recursive := strings.Replace(pod("recursive-"+class, class, claimed("taken-options")), "mountPath: /image}",
			"mountPath: /image, readOnly: true, recursiveReadOnly: Enabled}", 1)
		s.apply(t, pod(name, class, claimed("taken-options")), recursive)
		s.waitReady(t, name, "recursive-"+class)
		if flags := s.flags(t, name); !slices.Contains(flags, "ro") || slices.Contains(flags, "nosuid") || slices.Contains(flags, "nodev") {
			t.Errorf("%s: a volume has the flags %q in a pod; if the runtime keeps them, say so in docs/node-plugin.md", class, flags)
		}
		if flags := s.flags(t, "recursive-"+class); !slices.Contains(flags, "ro") || !slices.Contains(flags, "nosuid") || !slices.Contains(flags, "nodev") {
			t.Errorf("%s: with recursiveReadOnly a volume has the flags %q in a pod", class, flags)
		}
		s.deletePods(t, name, "recursive-"+class)
	}
	s.dropClaims(t, "taken-options", "refused-options")
}

// flags are those of a volume's mount as its pod sees it (proc_pid_mountinfo(5), field 6).
func (s *suite) flags(t *testing.T, pod string) []string {
	t.Helper()
	line := strings.Fields(s.run(t, pod, "grep", " /image ", "/proc/self/mountinfo"))
	if len(line) < 6 {
		t.Fatalf("%s: the mount's line is %q", pod, line)
	}
	return strings.Split(line[5], ",")
}
