package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster/project"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

const (
	// nextTag names the node plugin of another release in the cluster's registry.
	nextTag   = "v0.2.0"
	nextImage = "ghcr.io/" + project.Repository + ":" + nextTag
	goneImage = "ghcr.io/" + project.Repository + ":v0.0.0-gone"

	// rolledOut is for a change that reaches both nodes, or fails and is taken back.
	rolledOut = 4 * time.Minute
)

// TestUpgrade changes the node plugin forth and back, and once in vain, while pods on both nodes read and write.
func TestUpgrade(t *testing.T) {
	s := start(t)
	t.Cleanup(func() {
		if t.Failed() {
			s.dump(t)
		}
	})
	s.pushRelease(t, nextTag)
	s.driverWith(t, "")
	s.waitForRollout(t, "Complete")
	busy := s.busyPods(t)

	s.driverWith(t, nextImage)
	s.waitForRollout(t, "Complete")
	s.wantPlugins(t, nextImage, nextImage)
	busy.stillWork(t)

	before := s.pluginOn(t, "n2", "{.metadata.uid}")
	s.driverWith(t, goneImage)
	s.waitForRollout(t, "Returned")
	s.wantPlugins(t, nextImage, nextImage)
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
	busy.stillWork(t)
	busy.end(t)
	for class, node := range nodes() {
		s.apply(t, pod("after-"+class, class, inline(knownImage, true)))
		s.must(t, "wait", "--for=condition=Ready", "--timeout=90s", "pod/after-"+class)
		s.must(t, "delete", "pod", "after-"+class, "--wait", "--timeout=90s")
		poll.Until(t, "the writers' data is gone with them", soon, func() error {
			if left := s.writableDirectories(t, node); left != 0 {
				return fmt.Errorf("%d writable directories are left on %s", left, node)
			}
			return nil
		})
	}
}

// pushRelease puts the operator's image of another version into the cluster's registry.
func (s *suite) pushRelease(t *testing.T, version string) {
	t.Helper()
	programs, err := project.BuildVersion(t.Context(), t.TempDir(), version)
	if err != nil {
		t.Fatal(err)
	}
	image, err := programs.Image()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.Push(t.Context(), project.Repository+":"+version, image); err != nil {
		t.Fatal(err)
	}
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

// wantPlugins compares the node plugins' images on n1 and n2. A pod that is being replaced may show up twice for a moment.
func (s *suite) wantPlugins(t *testing.T, n1, n2 string) {
	t.Helper()
	for node, want := range map[string]string{"n1": n1, "n2": n2} {
		s.waitFor(t, soon, want, "-n", s.namespace, "get", "pods", "-l", "imagecsi.dev/driver="+driver,
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
		s.apply(t, busyPod("reads-"+class, class, inline(knownImage, true), "true"))
		s.apply(t, busyPod("writes-"+class, class, inline(knownImage, false), `echo $i >/image/n && [ "$(cat /image/n)" = $i ]`))
		b.rounds["reads-"+class], b.rounds["writes-"+class] = 0, 0
	}
	b.stillWork(t)
	return b
}

func busyPod(name, class, volume, also string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: busy}}
spec:
  restartPolicy: Never
  nodeSelector: {imagecsi.dev/node-class: %s}
  terminationGracePeriodSeconds: 0
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
	b.must(t, "delete", "pod", "-l", "app=busy", "--wait", "--timeout=90s")
}
