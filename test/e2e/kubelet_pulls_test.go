package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// pulledByTheKubelet has the kubelets pull a private image with one pod's secret. The image is on the nodes then, and the kubelets'
// own records say whose it is: a volume of it is for those whose credentials the registry takes, and not preloaded for all.
func pulledByTheKubelet(t *testing.T, s *suite) {
	const repository, content = "private/alice/by-the-kubelet:1", "alice's\n"
	data, err := image.Data([]image.File{{Path: "/hello.txt", Content: []byte(content)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.Push(t.Context(), repository, data); err != nil {
		t.Fatal(err)
	}
	reference := s.cluster.Registry() + "/" + repository
	auth := base64.StdEncoding.EncodeToString([]byte("alice:" + cluster.RegistryPassword("alice")))
	s.apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: alices}
type: kubernetes.io/dockerconfigjson
stringData: {.dockerconfigjson: '{"auths": {%q: {"auth": %q}}}'}
`, s.cluster.Registry(), auth))
	for class := range nodes() {
		// It has no program to run; its image is pulled all the same.
		s.apply(t, strings.NewReplacer("docker.io/library/busybox:1", reference, "  containers:", "  imagePullSecrets: [{name: alices}]\n  containers:").
			Replace(pod("puller-"+class, class, "emptyDir: {}")))
	}
	for class := range nodes() {
		poll.Until(t, "the kubelet pulls the image", soon, func() error {
			got, err := s.kubectl(t.Context(), "", "get", "events", "--field-selector", "involvedObject.name=puller-"+class+",reason=Pulled", "-o", "jsonpath={.items[*].message}")
			if err == nil && !strings.Contains(got, reference) {
				err = fmt.Errorf("its events are %q", got)
			}
			return err
		})
		s.apply(t, pod("stranger-"+class, class, inline(reference, true)),
			pod("alice-"+class, class, strings.Replace(inline(reference, true), "csi: {", "csi: {nodePublishSecretRef: {name: alices}, ", 1)))
	}
	for class := range nodes() {
		s.waitForEvent(t, "stranger-"+class, reference, "is on this node, but the registry does not give it")
		s.waitReady(t, "alice-"+class)
		if got := s.run(t, "alice-"+class, "cat", "/image/hello.txt"); got != strings.TrimSpace(content) {
			t.Errorf("%s: /image/hello.txt holds %q", class, got)
		}
	}
	for _, name := range []string{"puller", "stranger", "alice"} {
		s.deletePods(t, onEach(name)...)
	}
	s.must(t, "delete", "secret", "alices")
}
