package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/test/internal/imagelayers"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// formed is an image of some layers, with a directory and a file of user 1000 that nobody else may read, in the lowest one.
func formed(layers int) string { return fmt.Sprintf("registry.example/e2e/formed:%d", layers) }

// asMappable has a volume's manifest ask for the form IDMappable.
func asMappable(manifest string) string {
	return strings.ReplaceAll(manifest, "volumeAttributes: {", "volumeAttributes: {form: IDMappable, ")
}

// readOnlyClaimed is the volume of a claim in a pod that only reads. Without saying so, the runtime would have to make a read-only
// mount writable, which it may not for a pod with its own users.
func readOnlyClaimed(claim string) string {
	return "persistentVolumeClaim: {claimName: " + claim + ", readOnly: true}"
}

// withItsOwnRoot has a pod's users be none of the node's. It runs as root.
func withItsOwnRoot(pod string) string {
	return strings.Replace(pod, "spec:\n", "spec:\n  hostUsers: false\n", 1)
}

// withItsOwnUsers has a pod's users be none of the node's. It runs as one that is not root.
func withItsOwnUsers(pod string) string {
	return strings.NewReplacer("spec:\n", "spec:\n  hostUsers: false\n", "      volumeMounts:", "      securityContext: {runAsUser: 1000, runAsGroup: 1000}\n      volumeMounts:").Replace(pod)
}

// readAndWrite prints what a volume holds, but for its root's mode, which runtimes choose, and how many of four writes the file system refuses.
const readAndWrite = `cd %s; cat home/secret top; stat -c '%%u %%g' .; stat -c '%%u %%g %%a' home home/secret top; ls layers | wc -l; ls home
(touch home/new; (echo x >home/secret); chmod 777 home/secret; rm -f home/secret) 2>&1 | grep -c 'Read-only file system'`

// podsWithTheirOwnUsers has pods with hostUsers: false read volumes of one to sixty layers, inline and of claims, on both runtimes.
// The files' owners are those of the image. An overlay keeps such a pod from starting: the API server refuses it in an inline
// volume, and the runtime in one of a claim. They write in volumes of their own. (60 s)
func podsWithTheirOwnUsers(t *testing.T, s *suite) {
	layers := []int{1, 3, 10, 60}
	for _, n := range layers {
		pushFormed(t, s, n)
	}
	var pods, manifests []string
	for class := range nodes() {
		var volumes []string
		for _, n := range layers {
			volumes = append(volumes, asMappable(inline(formed(n), true)))
		}
		for _, n := range layers {
			name := fmt.Sprintf("formed-%d-%s", n, class)
			manifests = append(manifests, asMappable(claim(name, formed(n)+"#"+class, formed(n))))
			volumes = append(volumes, readOnlyClaimed(name))
		}
		pods = append(pods, "mapped-"+class)
		manifests = append(manifests, withItsOwnUsers(pod("mapped-"+class, class, volumes...)))
	}
	s.apply(t, manifests...)
	s.waitReady(t, pods...)
	for _, pod := range pods {
		if users := strings.Fields(s.run(t, pod, "cat", "/proc/self/uid_map")); len(users) != 3 || users[1] == "0" {
			t.Fatalf("%s: its users are the node's: %v", pod, users)
		}
		for i := range 2 * len(layers) {
			n, at := layers[i%len(layers)], "/image"
			if i > 0 {
				at += fmt.Sprint(i)
			}
			got := s.run(t, pod, "sh", "-c", fmt.Sprintf(readAndWrite, at))
			want := fmt.Sprintf("mine\n%d\n0 0\n1000 1000 700\n1000 1000 600\n0 0 644\n%d\nsecret\n4", n-1, n)
			if got != want {
				t.Errorf("%s: the volume of %d layers at %s gives\n%s\nwant\n%s", pod, n, at, got, want)
			}
		}
	}
	writtenByTheirOwnUsers(t, s)
	filedForTheirOwnUsers(t, s)
	s.deletePods(t, pods...)
	for class := range nodes() {
		for _, n := range layers {
			s.dropClaims(t, fmt.Sprintf("formed-%d-%s", n, class))
		}
	}
	overlay := strings.Replace(inline(formed(1), true), "volumeAttributes: {", "volumeAttributes: {form: Overlay, ", 1)
	if said := s.refused(t, withItsOwnUsers(pod("refused", "containerd", overlay))); !strings.Contains(said, "add form: IDMappable to its volumeAttributes") {
		t.Errorf("refused without advice: %s", said)
	}
	// An API server cannot tell whose volume a claim has.
	for class := range nodes() {
		s.apply(t, asMappable(claim("unsaid-"+class, formed(1)+"#unsaid-"+class, formed(1))), withItsOwnUsers(pod("unsaid-"+class, class, claimed("unsaid-"+class))))
		s.apply(t, claim("unmapped-"+class, formed(1)+"#"+class, formed(1)), withItsOwnUsers(pod("unmapped-"+class, class, readOnlyClaimed("unmapped-"+class))))
	}
	for name, word := range map[string]string{"unmapped": "failed to set MOUNT_ATTR_IDMAP", "unsaid": "set readOnly: true beside claimName"} {
		for _, pod := range onEach(name) {
			poll.Until(t, "the word of "+pod, soon, func() error {
				said, err := s.kubectl(t.Context(), "", "get", "events", "--field-selector", "involvedObject.name="+pod, "-o", "jsonpath={.items[*].message}")
				if err == nil && !strings.Contains(said, word) {
					err = fmt.Errorf("the events are %q", said)
				}
				return err
			})
			if name == "unmapped" {
				s.tellsWhy(t, pod, "UserNamespace", "form: IDMappable")
			}
		}
		s.deletePods(t, onEach(name)...)
		s.dropClaims(t, onEach(name)...)
	}
}

// filedForTheirOwnUsers has pods with hostUsers: false read an image whose files cannot be linked, from an EROFS file, on both runtimes,
// while pods with the node's users have an overlay of it. A kernel that mounts no such files refuses it. (5 s)
func filedForTheirOwnUsers(t *testing.T, s *suite) {
	const ref, file = "registry.example/e2e/unlinked:1", "/unlinked/secret"
	data, err := image.Data([]image.File{
		{Path: "/unlinked", Directory: true, Mode: 0o700, UID: 1000, GID: 1000},
		{Path: file, Content: []byte("mine\n"), Mode: 0o600, UID: 1000, GID: 1000},
	}, []image.File{{Path: "/top", Content: []byte("upper\n")}})
	if err != nil {
		t.Fatal(err)
	}
	_, repository, _ := strings.Cut(ref, "/")
	if err := s.cluster.Push(t.Context(), repository, data); err != nil {
		t.Fatal(err)
	}
	s.apply(t, onNode("overlaid", inline(ref, true))...)
	s.waitReady(t, onEach("overlaid")...)
	var manifests []string
	for class, node := range nodes() {
		imagelayers.WithoutLinks(t, s.nodeRoot(t, node), file)
		manifests = append(manifests, withItsOwnUsers(pod("filed-"+class, class, asMappable(inline(ref, true)))))
	}
	s.apply(t, manifests...)
	s.waitReady(t, onEach("filed")...)
	for _, pod := range onEach("filed") {
		got := s.run(t, pod, "sh", "-c", "cd /image; cat unlinked/secret top; stat -c '%u %g %a' unlinked/secret top; (echo x >unlinked/secret) 2>&1 | grep -c 'Read-only file system'; grep ' /image ' /proc/self/mountinfo | sed 's/.* - //; s/ .*//'")
		if want := "mine\nupper\n1000 1000 600\n0 0 644\n1\nerofs"; got != want {
			t.Errorf("%s gets\n%s\nwant\n%s", pod, got, want)
		}
	}
	for _, pod := range onEach("overlaid") {
		if got := s.run(t, pod, "cat", "/image/top"); got != "upper" {
			t.Errorf("%s gets %q", pod, got)
		}
	}
	s.deletePods(t, append(onEach("filed"), onEach("overlaid")...)...)
}

// writtenByTheirOwnUsers has pods with hostUsers: false write in volumes of their own, as root and as another user, on both runtimes.
// What they write outlives a container, and nothing else shows it.
func writtenByTheirOwnUsers(t *testing.T, s *suite) {
	const image = 10 // layers
	volume := asMappable(inline(formed(image), false))
	var manifests []string
	for class := range nodes() {
		manifests = append(manifests, withItsOwnUsers(pod("writing-"+class, class, volume)), withItsOwnRoot(pod("root-"+class, class, volume)))
	}
	s.apply(t, manifests...)
	pods := append(onEach("writing"), onEach("root")...)
	s.waitReady(t, pods...)
	for _, pod := range onEach("writing") {
		got := s.run(t, pod, "sh", "-c", "cd /image; cat home/secret; echo more >>home/secret; echo x >home/new; stat -c '%u %g %a' home home/new top; (echo x >top) 2>&1 | grep -c 'Permission denied'")
		if want := "mine\n1000 1000 700\n1000 1000 644\n0 0 644\n1"; got != want {
			t.Errorf("%s gets\n%s\nwant\n%s", pod, got, want)
		}
	}
	for _, pod := range onEach("root") {
		got := s.run(t, pod, "sh", "-c", "cd /image; echo x >new; echo x >top; chown 1000:1000 new; rm -r layers; stat -c '%u %g' . new top; stat -c '%u %a' home/secret; cat home/secret; ls home")
		if want := "0 0\n1000 1000\n0 0\n1000 600\nmine\nsecret"; got != want {
			t.Errorf("%s gets\n%s\nwant\n%s", pod, got, want)
		}
	}
	for _, pod := range onEach("writing") {
		s.endContainer(t, pod)
		if got := s.run(t, pod, "sh", "-c", "cd /image; cat home/secret home/new; ls layers | wc -l"); got != fmt.Sprintf("mine\nmore\nx\n%d", image) {
			t.Errorf("%s finds %q in its next container", pod, got)
		}
	}
	for _, node := range nodes() {
		s.waitForWritableDirectories(t, node, 2)
	}
	s.deletePods(t, pods...)
	for _, node := range nodes() {
		s.waitForWritableDirectories(t, node, 0)
	}
}

// pushFormed pushes an image whose topmost layer hides a file of the lowest one, if it has several.
func pushFormed(t *testing.T, s *suite, layers int) {
	t.Helper()
	stack := [][]image.File{{
		{Path: "/home", Directory: true, Mode: 0o700, UID: 1000, GID: 1000},
		{Path: "/home/secret", Content: []byte("mine\n"), Mode: 0o600, UID: 1000, GID: 1000},
	}}
	for len(stack) < layers {
		stack = append(stack, nil)
	}
	for i := range stack {
		stack[i] = append(stack[i], image.File{Path: fmt.Sprintf("/layers/%d", i), Content: []byte("x")}, image.File{Path: "/top", Content: fmt.Appendf(nil, "%d\n", i)})
	}
	if layers > 1 {
		stack[0] = append(stack[0], image.File{Path: "/home/hidden", Content: []byte("x")})
		stack[layers-1] = append(stack[layers-1], image.File{Path: "/home", Directory: true, Mode: 0o700, UID: 1000, GID: 1000}, image.Whiteout("/home/hidden"))
	}
	data, err := image.Data(stack...)
	if err != nil {
		t.Fatal(err)
	}
	_, repository, _ := strings.Cut(formed(layers), "/")
	if err := s.cluster.Push(t.Context(), repository, data); err != nil {
		t.Fatal(err)
	}
}
