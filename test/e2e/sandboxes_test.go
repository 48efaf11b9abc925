package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// toolsImage has a shell, bubblewrap, and a file of user 1000 that nobody else may read.
const toolsImage = "registry.example/e2e/tools:1"

// bubblewrap makes a sandbox whose root file system is a volume.
const bubblewrap = "bwrap --ro-bind /image / --proc /proc --dev /dev --tmpfs /tmp --unshare-all --new-session "

// sandboxPod has a container in which user 1000 makes sandboxes, under a profile of the node.
func sandboxPod(name, class, profile string) string {
	return sandboxPodWith(name, class, profile, inline(toolsImage, true))
}

func sandboxPodWith(name, class, profile, volume string) string {
	return strings.NewReplacer(
		"docker.io/library/busybox:1", toolsImage,
		"spec:\n", "spec:\n  hostUsers: false\n  securityContext: {runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, seccompProfile: {type: Localhost, localhostProfile: "+profile+"}}\n",
		"      volumeMounts:", "      securityContext: {procMount: Unmasked, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n      volumeMounts:",
	).Replace(pod(name, class, asMappable(volume)))
}

// labelledPod says no more than that its container makes sandboxes.
func labelledPod(name, class string) string {
	return strings.NewReplacer("docker.io/library/busybox:1", toolsImage, "labels: {app: e2e}", "labels: {app: e2e, imagecsi.dev/sandbox: bubblewrap}").
		Replace(pod(name, class, inline(toolsImage, true), "emptyDir: {sizeLimit: 8Mi}"))
}

// podsMakeSandboxes has the node plugins put a seccomp profile on the nodes, and pods with one label make sandboxes under it with
// bubblewrap, on both runtimes, in a namespace at Pod Security's level baseline. Pods that lack one of what it takes are refused, or
// told so by bubblewrap. Before that, the operator has a sandbox made on each node, and is killed meanwhile. Then docs/sandboxes.md is
// followed. (100 s)
func podsMakeSandboxes(t *testing.T, s *suite) {
	pushTools(t, s)
	s.must(t, "label", "namespace", "default", "pod-security.kubernetes.io/enforce=baseline", "imagecsi.dev/sandboxes=allowed")
	s.must(t, "apply", "--server-side", "-k", "config/mutation")
	s.must(t, "patch", "imagecsidriver", driver, "--type=merge", "-p", `{"spec": {"nestedSandboxes": {}}}`)
	const tried = "e2e/tried.json" // the same profile by a name that no policy knows
	for _, node := range nodes() {
		theProfileIsOn(t, s, node, tried)
	}
	sandboxesAreProven(t, s)
	poll.Until(t, "the policies are in effect", soon, func() error {
		got, err := s.kubectl(t.Context(), labelledPod("tried", "containerd"), "create", "--dry-run=server", "-f", "-", "-o", "jsonpath={.spec.hostUsers} {.spec.volumes[*].csi.volumeAttributes.form}")
		if err == nil && got != "false IDMappable" {
			err = fmt.Errorf("hostUsers and form are %q", got)
		}
		return err
	})
	said := map[string]string{
		"no-profile": "bwrap: No permissions to create new namespace",
		"masked":     "bwrap: Can't mount proc on /newroot/proc: Operation not permitted",
		"node-users": "bwrap: Can't mount proc on /newroot/proc: Operation not permitted",
	}
	probesTellWhy(t, s, tried)
	for class := range nodes() {
		lacking := func(name, old, with string) string {
			return strings.Replace(sandboxPod(name+"-"+class, class, tried), old, with, 1)
		}
		s.apply(t, labelledPod("sandbox-"+class, class),
			lacking("no-profile", "type: Localhost, localhostProfile: "+tried, "type: RuntimeDefault"),
			lacking("masked", "procMount: Unmasked, ", ""),
			strings.NewReplacer("  hostUsers: false\n", "", "procMount: Unmasked, ", "", "form: IDMappable, ", "").Replace(sandboxPod("node-users-"+class, class, tried)))
	}
	pods := onEach("sandbox")
	for name := range said {
		pods = append(pods, onEach(name)...)
	}
	s.waitReady(t, pods...)
	for _, pod := range onEach("sandbox") {
		aSandboxHolds(t, s, pod)
	}
	for name, want := range said {
		for _, pod := range onEach(name) {
			if out, err := s.exec(t, pod, "sh", "-c", bubblewrap+"true"); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: bubblewrap ends with %q, %v, want %q", pod, out, err, want)
			}
		}
	}
	if said, want := s.refused(t, sandboxPod("unlabelled", "containerd", sandbox.Name())), "needs the label imagecsi.dev/sandbox: bubblewrap"; !strings.Contains(said, want) {
		t.Errorf("the profile without the label: %s, want %q", said, want)
	}
	s.must(t, "label", "namespace", "default", "imagecsi.dev/sandboxes-")
	if said, want := s.refused(t, labelledPod("elsewhere", "containerd")), "an administrator allows it by the namespace label"; !strings.Contains(said, want) {
		t.Errorf("in a namespace that may not: %s, want %q", said, want)
	}
	s.deletePods(t, pods...)
	thePageIsFollowed(t, s)
	s.must(t, "label", "namespace", "default", "pod-security.kubernetes.io/enforce-")
}

// sandboxesAreProven waits until both nodes are, and kills the operator when the first runs its probe. A node of which the result is
// removed is tried again.
func sandboxesAreProven(t *testing.T, s *suite) {
	t.Helper()
	const labels = `jsonpath={.items[*].metadata.labels.imagecsi\.dev/sandbox-probe}`
	poll.Until(t, "a node runs a probe, or has run it", soon, func() error {
		if got, err := s.kubectl(t.Context(), "", "get", "nodes", "-o", labels); err != nil || got == "" {
			return fmt.Errorf("the labels are %q: %w", got, err)
		}
		return nil
	})
	s.must(t, "-n", "image-csi-operator", "delete", "pod", "-l", "app.kubernetes.io/component=manager", "--force", "--grace-period=0")
	proven := func() {
		s.waitFor(t, soon, sandbox.Name()+" Proven Proven 1 1", "get", "imagecsidriver", driver, "-o",
			"jsonpath={.status.nestedSandboxes.seccompProfile} {.status.nodeClasses[*].nestedSandboxes.state} {.status.nodeClasses[*].nestedSandboxes.proven}")
		s.waitFor(t, soon, "n1 n2", "get", "nodes", "-l", "imagecsi.dev.node-restriction.kubernetes.io/sandboxes=bubblewrap", "-o", "jsonpath={.items[*].metadata.name}")
	}
	proven()
	const label = `jsonpath={.metadata.labels.imagecsi\.dev/sandbox-probe}`
	result := s.must(t, "get", "node", "n1", "-o", label)
	s.must(t, "label", "node", "n1", "imagecsi.dev/sandbox-probe-")
	s.waitFor(t, soon, result, "get", "node", "n1", "-o", label)
	proven()
	t.Log(s.must(t, "get", "imagecsidriver", driver, "-o", "jsonpath={.status.nodeClasses[*].nestedSandboxes}"))
}

// probesTellWhy runs the probe's program on both runtimes in pods that lack something.
func probesTellWhy(t *testing.T, s *suite, profile string) {
	t.Helper()
	plugin := s.must(t, "-n", s.namespace, "get", "daemonsets", "-l", "imagecsi.dev/sandbox", "-o", "jsonpath={.items[0].spec.template.spec.containers[0].image}")
	said := map[string]struct{ old, with, want string }{
		"probe-complete":   {"x", "x", "Proven"},
		"probe-no-profile": {"type: Localhost, localhostProfile: " + profile, "type: RuntimeDefault", "UserNamespacesForbidden: make a user namespace: "},
		"probe-masked":     {"procMount: Unmasked, ", "", "ProcMasked: mount /proc: "},
		"probe-escalating": {"allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "NotConfined: NoNewPrivs"},
	}
	var pods []string
	for class := range nodes() {
		for name, test := range said {
			pods = append(pods, name+"-"+class)
			manifest := strings.NewReplacer(toolsImage, plugin, `[sh, -c, "trap 'exit 1' TERM; while :; do sleep 1; done"]`, "[/node-plugin, sandbox-probe]",
				"mountPath: /image", "mountPath: /tmp").Replace(sandboxPodWith(name+"-"+class, class, profile, "emptyDir: {medium: Memory}"))
			s.apply(t, strings.Replace(strings.Replace(manifest, test.old, test.with, 1), "spec:\n", "spec:\n  restartPolicy: Never\n", 1))
		}
	}
	for class := range nodes() {
		for name, test := range said {
			poll.Until(t, "the probe "+name+"-"+class, soon, func() error {
				got, err := s.kubectl(t.Context(), "", "get", "pod", name+"-"+class, "-o", "jsonpath={.status.containerStatuses[0].state.terminated.message}")
				if err == nil && !strings.HasPrefix(got, test.want) {
					err = fmt.Errorf("it reports %q, want %q", got, test.want)
				}
				return err
			})
		}
	}
	s.deletePods(t, pods...)
}

// thePageIsFollowed runs every command of docs/sandboxes.md, and its first pod with images of the tests'.
func thePageIsFollowed(t *testing.T, s *suite) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(s.root, "docs/sandboxes.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^    kubectl .*$`).FindAllString(string(page), -1)
	if len(commands) < 5 {
		t.Fatalf("the page has the commands %q", commands)
	}
	for _, command := range commands {
		out := s.cluster.MustShell(t, command)
		t.Logf("%s\n%s", command, out)
	}
	_, block, _ := strings.Cut(string(page), "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	block = regexp.MustCompile(`registry\.example\.com/ci/\w+:\d`).ReplaceAllString(block, toolsImage)
	s.apply(t, block)
	s.waitFor(t, soon, "0", "-n", "builds", "get", "pod", "build", "-o", "jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}")
	// The runtime may have a line of its own before them.
	said := s.must(t, "-n", "builds", "logs", "build")
	if processes := regexp.MustCompile(`(?m)^ *\d+ 1000 `).FindAllString(said, -1); len(processes) != 2 || !strings.HasSuffix(said, " ps") {
		t.Errorf("the step says %q, want bubblewrap and ps, and no other process", said)
	}
	s.must(t, "-n", "builds", "delete", "pod", "build", "--wait", "--timeout=90s")
	s.must(t, "delete", "namespace", "builds", "--timeout=90s")
}

// theProfileIsOn waits until a node has the profile, and copies it to another name.
func theProfileIsOn(t *testing.T, s *suite, node, copied string) {
	t.Helper()
	dir := filepath.Join(s.nodeRoot(t, node), "var/lib/kubelet/seccomp")
	poll.Until(t, "the profile on node "+node, soon, func() error {
		content, err := os.ReadFile(filepath.Join(dir, sandbox.Name()))
		if err == nil && !bytes.Equal(content, sandbox.Profile(runtime.GOARCH)) {
			err = fmt.Errorf("it holds %q", content)
		}
		return err
	})
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(copied)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, copied), sandbox.Profile(runtime.GOARCH), 0o644); err != nil {
		t.Fatal(err)
	}
}

// aSandboxHolds looks out of sandboxes of a pod.
func aSandboxHolds(t *testing.T, s *suite, pod string) {
	t.Helper()
	in := func(script string) string {
		out, err := s.exec(t, pod, "sh", "-c", bubblewrap+"sh -c '"+script+"' 2>&1")
		if err != nil {
			t.Errorf("%s: in a sandbox, %s: %v, %s", pod, script, err, out)
		}
		return out
	}
	if got, want := in("id -u; cat /home/secret; stat -c \"%u %a\" /home/secret; cat /proc/1/comm; ps | grep -c \"[t]rap\"; grep -c \" / ro,nosuid,nodev\" /proc/self/mountinfo"), "1000\nmine\n1000 600\nbwrap\n0\n1"; got != want {
		t.Errorf("%s: a sandbox shows\n%s\nwant\n%s", pod, got, want)
	}
	if got, want := in("grep -E \"^(NoNewPrivs|CapEff|CapBnd|Seccomp):\" /proc/self/status | cut -f2"), "0000000000000000\n0000000000000000\n1\n2"; got != want {
		t.Errorf("%s: a process of a sandbox has\n%s\nwant\n%s", pod, got, want)
	}
	for try, why := range map[string]string{
		"echo x >/proc/sys/kernel/core_pattern": "Permission denied",
		"echo 1 >/proc/sys/vm/drop_caches":      "Permission denied",
		"echo b >/proc/sysrq-trigger":           "can't create",
		"mount -t tmpfs x /tmp":                 "permission denied",
		"mknod /tmp/disk b 8 0":                 "Operation not permitted",
		"touch /new":                            "Read-only file system",
		"chown 0 /tmp":                          "Invalid argument",
	} {
		if got := in(try + "; true"); !strings.Contains(got, why) {
			t.Errorf("%s: in a sandbox, %s gives %q, want %q", pod, try, got, why)
		}
	}
	// What one writes to a volume of the pod's, the next reads.
	const workspace = "--bind /image1 /workspace sh -c "
	s.run(t, pod, "sh", "-c", bubblewrap+workspace+"'echo kept >/workspace/file'")
	if got := s.run(t, pod, "sh", "-c", bubblewrap+workspace+"'cat /workspace/file'"); got != "kept" {
		t.Errorf("%s: the workspace holds %q", pod, got)
	}
	// Two sandboxes at a time read the same file, and do not see each other's.
	const first = "echo mine >/tmp/mine; stat -c %d:%i /bin/busybox; sleep 0005"
	const second = "sleep 1; stat -c %d:%i /bin/busybox; ls /tmp; ps | grep -c \"sleep [0]005\""
	out, err := s.exec(t, pod, "sh", "-c", bubblewrap+"sh -c '"+first+"' & "+bubblewrap+"sh -c '"+second+"; true'; wait")
	if lines := strings.Fields(out); err != nil || len(lines) != 3 || lines[0] != lines[1] || lines[2] != "0" {
		t.Errorf("%s: two sandboxes give %q, %v, want the same file twice, no file and no process of the other's", pod, out, err)
	}
}

// pushTools pushes busybox with this machine's bubblewrap.
func pushTools(t *testing.T, s *suite) {
	t.Helper()
	busybox, err := image.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	const program = "/usr/bin/bwrap"
	linked, err := exec.CommandContext(t.Context(), "ldd", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := []image.File{
		{Path: "/home", Directory: true, Mode: 0o700, UID: 1000, GID: 1000},
		{Path: "/home/secret", Content: []byte("mine\n"), Mode: 0o600, UID: 1000, GID: 1000},
		{Path: "/proc", Directory: true}, {Path: "/dev", Directory: true}, {Path: "/workspace", Directory: true},
	}
	for _, path := range append(regexp.MustCompile(`/\S+`).FindAllString(string(linked), -1), program) {
		at := path
		if path == program {
			at = "/bin/bwrap"
		}
		file, err := image.Program(path, at)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	layer, err := image.Layer(files...)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := mutate.AppendLayers(busybox, layer)
	if err != nil {
		t.Fatal(err)
	}
	_, repository, _ := strings.Cut(toolsImage, "/")
	if err := s.cluster.Push(t.Context(), repository, tools); err != nil {
		t.Fatal(err)
	}
}
