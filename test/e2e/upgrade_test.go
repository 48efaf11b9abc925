package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
	"github.com/image-csi/image-csi-operator/hack/cluster/project"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

const (
	// previous is the release to upgrade from: a commit, and the tag under which the test's registry has its image. There
	// is no release yet; the commit is one that deploys node plugins as the first release does. Its operator runs in the node
	// plugins' namespace.
	previous    = "abccb21977fb30db79f9e6ae25fe854a6a852991"
	previousTag = "previous"
	currentTag  = project.Tag

	imageName = "ghcr.io/" + project.Repository + ":"
	goneImage = imageName + "v0.0.0-gone"

	// rolledOut is for a change that reaches both nodes, or fails and is rolled back.
	rolledOut = 4 * time.Minute

	// leads is for an operator whose predecessor does not release the lease. It expires after 15 s, and the pod may have to be
	// started first.
	leads = time.Minute
)

// TestUpgrade replaces the operator, and with it the node plugins, by those of another release, and back, and once the node
// plugin in vain, while pods on both nodes read and write.
func TestUpgrade(t *testing.T) {
	t.Parallel() // A test mostly waits.
	s := start(t, "e2e-upgrade")
	t.Cleanup(func() {
		if t.Failed() {
			s.cluster.Dump(t)
		}
	})
	earlier := s.earlierRelease(t)
	s.goBack(t, earlier)
	s.driverWith(t, "")
	s.waitForRelease(t, previousTag)
	busy := s.busyPods(t)

	s.installRelease(t, s.root, currentTag, operatorNamespace)
	s.operatorMoves(t)
	s.waitForRelease(t, currentTag)
	busy.stillWork(t)
	s.newPodsWork(t)

	before := s.pluginOn(t, "n2", "{.metadata.uid}")
	s.driverWith(t, goneImage)
	s.waitForRollout(t, "RolledBack")
	s.wantPlugins(t, soon, imageName+currentTag)
	if after := s.pluginOn(t, "n2", "{.metadata.uid}"); after != before {
		t.Error("a change that failed on the canary n1 replaced the node plugin of n2")
	}
	said := s.must(t, "get", "imagecsidriver", driver, "-o", `jsonpath={.status.conditions[?(@.type=="Degraded")].reason} {.status.rollout.failure.node} {.status.rollout.failure.message}`)
	if !strings.HasPrefix(said, "RolloutFailed n1 ") || !strings.Contains(said, goneImage) {
		t.Errorf("the driver does not tell what failed where: %q", said)
	}
	busy.stillWork(t)
	s.driverWith(t, "")
	s.waitForRollout(t, "Complete")

	s.goBack(t, earlier)
	s.waitForRelease(t, previousTag)
	busy.stillWork(t)
	s.newPodsWork(t)
	busy.end(t)
	for _, node := range nodes() {
		s.waitForWritableDirectories(t, node, 0)
	}
}

// newPodsWork starts pods that read, and ends them.
func (s *suite) newPodsWork(t *testing.T) {
	t.Helper()
	for class := range nodes() {
		s.apply(t, pod("new-"+class, class, inline(knownImage, true)))
	}
	s.waitReady(t, onEach("new")...)
	s.deletePods(t, onEach("new")...)
}

// earlierRelease returns the sources of the release to upgrade from, with its own tag in their manifests, and puts its image
// into the cluster's registry.
func (s *suite) earlierRelease(t *testing.T) string {
	t.Helper()
	sources := t.TempDir()
	if err := checkout.Extract(t.Context(), previous, sources); err != nil {
		t.Fatal(err)
	}
	binaries, err := project.BuildFrom(t.Context(), sources, t.TempDir(), previousTag)
	if err != nil {
		t.Fatal(err)
	}
	image, err := binaries.Image()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.Push(t.Context(), project.Repository+":"+previousTag, image); err != nil {
		t.Fatal(err)
	}
	kustomization := filepath.Join(sources, "config/manager/kustomization.yaml")
	content, err := os.ReadFile(kustomization)
	if err != nil {
		t.Fatal(err)
	}
	tagged := strings.Replace(string(content), "newTag: "+currentTag, "newTag: "+previousTag, 1)
	if tagged == string(content) {
		t.Fatalf("%s does not set the tag %s", kustomization, currentTag)
	}
	if err := os.WriteFile(kustomization, []byte(tagged), 0o644); err != nil {
		t.Fatal(err)
	}
	return sources
}

// installRelease applies the manifests in a release's sources, whose operator runs in a namespace, as an administrator does who
// upgrades or rolls back.
func (s *suite) installRelease(t *testing.T, sources, tag, namespace string) {
	t.Helper()
	s.must(t, "apply", "--server-side", "--force-conflicts", "-k", filepath.Join(sources, "config/default"))
	s.waitFor(t, soon, imageName+tag, "-n", namespace, "get", "deployments", "-o", "jsonpath={.items[*].spec.template.spec.containers[*].image}")
	s.must(t, "-n", namespace, "rollout", "status", "deployment", "--timeout=120s")
}

// operatorMoves deletes the operator that an upgrade left in the node plugins' namespace, as the manual says, when the new one leads.
// Both run until then, and the old one has lost its rights.
func (s *suite) operatorMoves(t *testing.T) {
	t.Helper()
	pod := s.must(t, "-n", operatorNamespace, "get", "pods", "-l", "app.kubernetes.io/component=manager", "-o", "jsonpath={.items[*].metadata.name}")
	if old := s.must(t, "-n", s.namespace, "get", "deployment", "image-csi-operator", "-o", "jsonpath={.spec.replicas}"); old != "1" {
		t.Errorf("the earlier release's operator has %q replicas, so the test does not show that two get along", old)
	}
	poll.Until(t, "the operator that moved leads", leads, func() error {
		holder := s.must(t, "-n", s.namespace, "get", "lease", "image-csi-operator", "-o", "jsonpath={.spec.holderIdentity}")
		if !strings.HasPrefix(holder, pod+"_") {
			return fmt.Errorf("%q holds the lease, and not %s", holder, pod)
		}
		return nil
	})
	poll.Until(t, "the operator that was left behind is not guarded any more", soon, func() error {
		_, err := s.kubectl(t.Context(), "", "-n", s.namespace, "delete", "--ignore-not-found", "deployment,serviceaccount", "image-csi-operator")
		return err
	})
}

// goBack installs the earlier release in place of this one as the manual says: this one's policies do not know what it writes, and
// its operator is in another namespace.
func (s *suite) goBack(t *testing.T, earlier string) {
	t.Helper()
	s.must(t, "-n", operatorNamespace, "scale", "deployment", "image-csi-operator", "--replicas=0")
	s.must(t, "delete", "-k", filepath.Join(s.root, "config/admission"))
	s.installRelease(t, earlier, previousTag, s.namespace)
}

// waitForRelease waits until every node has a release's node plugin and the change is complete.
func (s *suite) waitForRelease(t *testing.T, tag string) {
	t.Helper()
	s.wantPlugins(t, rolledOut, imageName+tag)
	s.waitForRollout(t, "Complete")
}

// driverWith applies the driver with an image for its node plugin, the operator's own if it is empty; n1 is the canary.
func (s *suite) driverWith(t *testing.T, image string) {
	t.Helper()
	plugin := "{}"
	if image != "" {
		plugin = "{image: " + image + "}"
	}
	s.apply(t, fmt.Sprintf(`
apiVersion: storage.imagecsi.dev/v1alpha1
kind: ImageCSIDriver
metadata: {name: %s}
spec:
  nodePlugin: %s
  rollout: {canary: {nodeSelector: {kubernetes.io/hostname: n1}}, minReadySeconds: 3, progressDeadlineSeconds: 45}
`, driver, plugin))
}

// waitForRollout waits until the operator has seen the latest spec and its rollout is in a phase.
func (s *suite) waitForRollout(t *testing.T, phase string) {
	t.Helper()
	generation := s.must(t, "get", "imagecsidriver", driver, "-o", "jsonpath={.metadata.generation}")
	s.waitFor(t, rolledOut, generation+" "+phase, "get", "imagecsidriver", driver, "-o", "jsonpath={.status.observedGeneration} {.status.rollout.phase}")
}

// pluginOn returns a field of the node plugin's pod on a node.
func (s *suite) pluginOn(t *testing.T, node, field string) string {
	t.Helper()
	return s.must(t, "-n", s.namespace, "get", "pods", "-l", "imagecsi.dev/driver="+driver,
		"--field-selector", "spec.nodeName="+node, "-o", "jsonpath={.items[*]"+strings.TrimPrefix(field, "{"))
}

// wantPlugins waits until the node plugins on both nodes have an image. A pod that is being replaced may show up twice for a
// moment.
func (s *suite) wantPlugins(t *testing.T, within time.Duration, image string) {
	t.Helper()
	for _, node := range nodes() {
		s.waitFor(t, within, image, "-n", s.namespace, "get", "pods", "-l", "imagecsi.dev/driver="+driver,
			"--field-selector", "spec.nodeName="+node, "-o", `jsonpath={.items[*].spec.containers[?(@.name=="node-plugin")].image}`)
	}
}

// busy are pods that read and write their volumes all the time, by name. One that meets an error ends, and stays so.
type busy struct {
	*suite
	rounds map[string]int
}

// busyPods starts a pod that reads and one that writes on each node.
func (s *suite) busyPods(t *testing.T) busy {
	t.Helper()
	b := busy{suite: s, rounds: map[string]int{}}
	for class := range nodes() {
		b.start(t, class, class)
	}
	b.stillWork(t)
	return b
}

// start starts a pod that reads and one that writes on the node of a class.
func (b busy) start(t *testing.T, name, class string) {
	t.Helper()
	b.apply(t, busyPod("reads-"+name, class, inline(knownImage, true), "true"))
	b.apply(t, busyPod("writes-"+name, class, inline(knownImage, false), `echo $i >/image/n && [ "$(cat /image/n)" = $i ]`))
	b.rounds["reads-"+name], b.rounds["writes-"+name] = 0, 0
}

func busyPod(name, class, volume, also string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: busy}}
spec:
  restartPolicy: Never
  nodeSelector: {imagecsi.dev/node-class: %s}
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: docker.io/library/busybox:1
      command: [sh, -c, 'i=0; while grep -q "hello from an image" /image/hello.txt && %s; do i=$((i+1)); echo $i >/tmp/rounds.new; mv /tmp/rounds.new /tmp/rounds; sleep 0.2; done; exit 1']
      volumeMounts: [{name: image, mountPath: /image}, {name: tmp, mountPath: /tmp}]
  volumes:
    - name: image
      %s
    - {name: tmp, emptyDir: {}}
`, name, class, also, volume)
}

// stillWork wants every pod to have gone on since it was last asked: none may have ended, which an error would do.
func (b busy) stillWork(t *testing.T) {
	t.Helper()
	for name, before := range b.rounds {
		poll.Until(t, name+" goes on", soon, func() error {
			said, err := b.exec(t, name, "cat", "/tmp/rounds")
			if err != nil {
				return err
			}
			rounds, err := strconv.Atoi(said)
			if err != nil || rounds <= before {
				return fmt.Errorf("it has done %q rounds, and had done %d", said, before)
			}
			b.rounds[name] = rounds
			return nil
		})
	}
}

func (b busy) end(t *testing.T) {
	t.Helper()
	b.deletePods(t, slices.Collect(maps.Keys(b.rounds))...)
}
