package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// alias is the driver's second name.
const alias = "csi-image.warm-metal.tech"

// providersDir holds the nodes' credential providers. It outlives a node's power cut.
const providersDir = "/var/lib/kubelet/credential-providers"

// changedDriver has a second name, a secret, credential providers, a number of volumes, and a place for limits that its nodes cannot
// enforce.
const changedDriver = `
apiVersion: storage.imagecsi.dev/v1alpha1
kind: ImageCSIDriver
metadata: {name: ` + driver + `}
spec:
  aliases: [` + alias + `]
  credentials: {secrets: [{name: registry}], providers: {configPath: ` + providersDir + `/config.yaml, binDir: ` + providersDir + `/bin}}
  volumes: {maxVolumesPerNode: 123, sizeLimitFallback: Memory}
`

// installProvider gives a node a credential provider, which is asked for no image.
func (s *suite) installProvider(t *testing.T, node string) {
	t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	const config = "{apiVersion: kubelet.config.k8s.io/v1, kind: CredentialProviderConfig, providers: [{name: \"true\", matchImages: [none.example], " +
		"defaultCacheDuration: 0s, apiVersion: credentialprovider.kubelet.k8s.io/v1}]}"
	dir := filepath.Join(s.nodeRoot(t, node), providersDir)
	err = errors.Join(os.MkdirAll(filepath.Join(dir, "bin"), 0o755), os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o644),
		os.WriteFile(filepath.Join(dir, "bin/true"), program, 0o755))
	if err != nil {
		t.Fatal(err)
	}
}

// driverIsChanged gives the driver a second name, a secret, credential providers and a number of volumes, and waits until both nodes
// know.
func driverIsChanged(t *testing.T, s *suite) {
	for _, node := range nodes() {
		s.installProvider(t, node)
	}
	s.apply(t, changedDriver)
	for class, node := range nodes() {
		for _, name := range []string{driver, alias} {
			s.waitFor(t, soon, "123", "get", "csinode", node, "-o", fmt.Sprintf("jsonpath={.spec.drivers[?(@.name==%q)].allocatable.count}", name))
		}
		s.waitFor(t, soon, "1 1", "-n", s.namespace, "get", "daemonset", driver+"-"+class, "-o", "jsonpath={.status.updatedNumberScheduled} {.status.numberReady}")
		if got := s.run(t, "reader-"+class, "cat", "/image/hello.txt"); got != strings.TrimSpace(known) {
			t.Errorf("%s: after the change /image/hello.txt holds %q", class, got)
		}
	}
	s.waitFor(t, soon, "True", "get", "imagecsidriver", driver, "-o", `jsonpath={.status.conditions[?(@.type=="Available")].status}`)
}

// bothNames mounts an image by both names, in one pod on each node.
func bothNames(t *testing.T, s *suite) {
	var manifests []string
	for class := range nodes() {
		manifests = append(manifests, pod("names-"+class, class, inlineOf(driver, knownImage, true), inlineOf(alias, knownImage, true)))
	}
	s.apply(t, manifests...)
	s.waitReady(t, onEach("names")...)
	for _, pod := range onEach("names") {
		got := s.run(t, pod, "cat", "/image/hello.txt", "/image1/hello.txt")
		if want := strings.TrimSpace(known + known); got != want {
			t.Errorf("%s: the two volumes hold %q, want %q", pod, got, want)
		}
	}
	s.deletePods(t, onEach("names")...)
	plugins := strings.Fields(s.must(t, "-n", s.namespace, "get", "pods", "-l", "imagecsi.dev/driver="+driver, "-o", "name"))
	if len(plugins) != len(nodes()) {
		t.Errorf("the two names are served by %q, want one pod on each node", plugins)
	}
}

// secretOfTheDriver starts pods that cannot pull their image, and corrects the driver's secret while they wait.
func secretOfTheDriver(t *testing.T, s *suite) {
	plugins := []string{"-n", s.namespace, "get", "pods", "-l", "imagecsi.dev/driver=" + driver, "-o",
		"jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount} {end}"}
	before := s.must(t, plugins...)

	s.setSecret(t, "yesterday")
	// By the registry's own address: CRI-O gives credentials to no mirror.
	image := s.cluster.Registry() + "/" + privateImage
	var manifests []string
	for class := range nodes() {
		manifests = append(manifests, pod("private-"+class, class, inline(image, true)))
	}
	s.apply(t, manifests...)
	for _, pod := range onEach("private") {
		s.waitForEvent(t, pod, image, "the registry refuses")
		s.tellsWhy(t, pod, "AccessDenied", "kubectl -n default create secret docker-registry")
	}
	s.setSecret(t, cluster.RegistryPassword("alice"))
	s.waitReady(t, onEach("private")...)
	for _, pod := range onEach("private") {
		if got := s.run(t, pod, "cat", "/image/hello.txt"); got != strings.TrimSpace(known) {
			t.Errorf("%s: /image/hello.txt holds %q, want %q", pod, got, known)
		}
	}
	s.deletePods(t, onEach("private")...)
	if after := s.must(t, plugins...); after != before {
		t.Errorf("the node plugins' pods and restarts were %q and are %q", before, after)
	}
}

// setSecret sets alice's password in the driver's secret, and has the kubelets look at it now: by themselves they would
// within a minute or so, and at once when the pod that mounts it changes.
func (s *suite) setSecret(t *testing.T, password string) {
	t.Helper()
	auth := base64.StdEncoding.EncodeToString([]byte("alice:" + password))
	s.apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: registry, namespace: %s}
type: kubernetes.io/dockerconfigjson
stringData: {.dockerconfigjson: '{"auths": {%q: {"auth": %q}}}'}
`, s.namespace, s.cluster.Registry(), auth))
	s.must(t, "-n", s.namespace, "annotate", "pods", "-l", "imagecsi.dev/driver="+driver, "--overwrite", "e2e="+base64.RawURLEncoding.EncodeToString([]byte(password)))
}

// waitForEvent wants a pod's events to say every word.
func (s *suite) waitForEvent(t *testing.T, pod string, words ...string) {
	t.Helper()
	poll.Until(t, "an event of "+pod+" that says why", soon, func() error {
		said, err := s.kubectl(t.Context(), "", "get", "events", "--field-selector", "involvedObject.name="+pod+",reason=FailedMount", "-o", "jsonpath={.items[*].message}")
		if err != nil {
			return err
		}
		for _, word := range words {
			if !strings.Contains(said, word) {
				return fmt.Errorf("the events %q do not hold %q", said, word)
			}
		}
		t.Logf("%s: %s", pod, said)
		return nil
	})
}
