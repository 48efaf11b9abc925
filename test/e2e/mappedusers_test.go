package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster/image"
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

// withItsOwnUsers has a pod's users be none of the node's. It runs as one that is not root.
func withItsOwnUsers(pod string) string {
	return strings.NewReplacer("spec:\n", "spec:\n  hostUsers: false\n", "      volumeMounts:", "      securityContext: {runAsUser: 1000, runAsGroup: 1000}\n      volumeMounts:").Replace(pod)
}

// readAndWrite prints what a volume holds, but for its root's mode, which runtimes choose, and how many of four writes the file system refuses.
const readAndWrite = `cd %s; cat home/secret top; stat -c '%%u %%g' .; stat -c '%%u %%g %%a' home home/secret top; ls layers | wc -l; ls home
(touch home/new; (echo x >home/secret); chmod 777 home/secret; rm -f home/secret) 2>&1 | grep -c 'Read-only file system'`

// podsWithTheirOwnUsers has pods with hostUsers: false read volumes of one to sixty layers, inline and of claims, on both runtimes.
// The files' owners are those of the image. An overlay keeps such a pod from starting: the API server refuses it in an inline
// volume, and the runtime in one of a claim. (40 s)
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
		s.apply(t, claim("unmapped-"+class, formed(1)+"#"+class, formed(1)), withItsOwnUsers(pod("unmapped-"+class, class, readOnlyClaimed("unmapped-"+class))))
	}
	for _, pod := range onEach("unmapped") {
		poll.Until(t, "the runtime's word that it cannot map the users of an overlay in "+pod, soon, func() error {
			said, err := s.kubectl(t.Context(), "", "get", "events", "--field-selector", "involvedObject.name="+pod, "-o", "jsonpath={.items[*].message}")
			if err == nil && !strings.Contains(said, "failed to set MOUNT_ATTR_IDMAP") {
				err = fmt.Errorf("the events are %q", said)
			}
			return err
		})
		s.tellsWhy(t, pod, "UserNamespace", "form: IDMappable")
	}
	s.deletePods(t, onEach("unmapped")...)
	s.dropClaims(t, onEach("unmapped")...)
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
