package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

const (
	driver     = "container-image.csi.k8s.io"
	known      = "hello from an image\n"
	knownImage = "registry.example/e2e/known:1"

	// privateImage holds the same, and is alice's alone.
	privateImage = "private/alice/e2e:1"

	soon = 90 * time.Second
)

// nodes names, by class, the node of the cluster that has it.
func nodes() map[string]string { return map[string]string{"containerd": "n1", "crio": "n2"} }

// TestFirstLight walks the main job from an ImageCSIDriver to its removal.
func TestFirstLight(t *testing.T) {
	t.Parallel() // A test mostly waits.
	s := start(t, "e2e")
	var mountedByTheOther busy
	steps := []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"bad input gets one clear sentence from kubectl", badInput},
		{"pods of node plugins that cannot be created are told with the cluster's own reason", podsCannotBeCreated},
		{"an empty driver recovers, labels the nodes, registers on both and stays so when a legacy driver ends", legacyDriverIsReplaced},
		{"the operator has no power over its node", operatorIsPowerless},
		{"the containerd pod has exactly the privileges it lists", containerdPodIsScoped},
		{"the CRI-O pod has confined itself", crioPodHasConfinedItself},
		{"node plugins that have nothing to do keep within their memory", idleNodePluginsAreSmall},
		{"pods on both nodes read known bytes", podsRead},
		{"who takes over a node plugin gets no more than docs/security.md says", whoTakesOverANodePluginGetsNoMore},
		{"who is not confined gets more", whoIsNotConfinedGetsMore},
		{"kubectl imagecsi shows drivers, nodes and volumes to those who may see them", pluginShows},
		{"node plugins show what they have to inspectors only", onlyInspectorsAsk},
		{"a read-only volume refuses writes", readOnlyRefusesWrites},
		{"set-uid files and devices of a read-only volume have no effect with config/mutation", flagsReachPods},
		{"a writable volume is written, survives its container, and goes with its pod", writableVolume},
		{"a pod ends whatever was mounted inside its volume", mountsInsideAVolume},
		{"a ReadOnlyMany volume serves a claim", persistentVolume},
		{"pods with users of their own read volumes of every number of layers", podsWithTheirOwnUsers},
		{"pods make sandboxes of their own with bubblewrap", podsMakeSandboxes},
		{"mount options hold in the pod or are refused by name", mountOptions},
		{"claims of a StorageClass get volumes, which go with them", claimGetsItsVolume},
		{"two volumes of one image serve one pod", twoVolumesOfOneImage},
		{"one volume serves many pods on both nodes", oneVolumeManyPods},
		{"a running pod keeps its volume while the plugin restarts", volumeSurvivesPluginRestart},
		{"the node plugin on CRI-O loses its privileges under running pods", func(t *testing.T, s *suite) { mountedByTheOther = crioLosesItsPrivileges(t, s) }},
		{"node plugins get their own seccomp profile when the Security Profiles Operator comes", narrowSeccompProfile},
		{"the node plugin on CRI-O regains its privileges under running pods", func(t *testing.T, s *suite) { crioRegainsItsPrivileges(t, s, mountedByTheOther) }},
		{"a missing image says so in the pod's event, and kubectl imagecsi what to do", missingImage},
		{"a wrong reference says so in the pod's event, and kubectl imagecsi what to do", wrongReference},
		{"an image that the kubelet pulled with a pod's secret is for those who have it", pulledByTheKubelet},
		{"a change of the driver reaches every node while pods run", driverIsChanged},
		{"credential providers have no power over their node", credentialProvidersArePowerless},
		{"a volume with a size limit is full when it is reached", limitedVolume},
		{"both names of the driver serve one image on one node", bothNames},
		{"a secret of the driver opens a private image, without a restart when it changes", secretOfTheDriver},
		{"two drivers serve the same nodes, and one goes without the other", twoDrivers},
		{"after a power cut, pods find what they wrote, and nothing is left of those deleted meanwhile", powerCut},
		{"a removal that ignores volumes in use leaves them to their pods, and the driver that comes back cleans up", ignoredVolumes},
		{"an uninstall before the driver's removal is refused, and everything works on", uninstallTooEarly},
		{"removal waits for pods that use volumes, then leaves nothing", removal},
		{"an uninstall without a driver leaves nothing", uninstall},
	}
	for _, step := range steps {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, s) }) {
			s.cluster.Dump(t)
			t.FailNow()
		}
	}
}

// badInput applies drivers that must be refused, and wants the sentence that says why.
func badInput(t *testing.T, s *suite) {
	const object = "{apiVersion: storage.imagecsi.dev/v1alpha1, kind: ImageCSIDriver, metadata: {name: %s}, spec: %s}"
	for _, c := range []struct{ name, spec, says string }{
		{"not_a_driver", "{}", "not_a_driver"},
		{driver, "{nodeClasses: [{name: containerd, kubeletRoot: var/lib/kubelet}]}", "absolute"},
		{driver, "{nodeClasses: [{name: no-such-class, kubeletRoot: /var/lib/kubelet}]}", "class"},
		{driver, "{nodeClasses: [{name: containerd, runtimeEndpoint: tcp://127.0.0.1:1}]}", "unix://"},
		{driver, "{aliases: [" + driver + "]}", "alias"},
	} {
		said := s.refused(t, fmt.Sprintf(object, c.name, c.spec))
		if !strings.Contains(said, c.says) {
			t.Errorf("%s %s: %q does not say %q", c.name, c.spec, said, c.says)
		}
		t.Log(said)
	}
}

func driverBecomesAvailable(t *testing.T, s *suite) {
	s.apply(t, "{apiVersion: storage.imagecsi.dev/v1alpha1, kind: ImageCSIDriver, metadata: {name: "+driver+"}, spec: {}}")
	s.waitFor(t, soon, "True", "get", "imagecsidriver", driver, "-o", `jsonpath={.status.conditions[?(@.type=="Available")].status}`)
	for class, node := range nodes() {
		s.waitFor(t, soon, class, "get", "node", node, "-o", `jsonpath={.metadata.labels.imagecsi\.dev/node-class}`)
		s.waitFor(t, soon, driver, "get", "csinode", node, "-o", "jsonpath={.spec.drivers[*].name}")
		s.waitFor(t, soon, "1", "-n", s.namespace, "get", "daemonset", driver+"-"+class, "-o", "jsonpath={.status.numberReady}")
	}
}

func podsRead(t *testing.T, s *suite) {
	for class := range nodes() {
		s.apply(t, pod("reader-"+class, class, inline(knownImage, true)))
	}
	for class := range nodes() {
		s.waitReady(t, "reader-"+class)
		if got := s.run(t, "reader-"+class, "cat", "/image/hello.txt"); got != strings.TrimSpace(known) {
			t.Errorf("%s: /image/hello.txt holds %q, want %q", class, got, known)
		}
		info, err := s.exec(t, "reader-"+class, "grep", " /image ", "/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(info, "imagecsi:"+driver+"@sha256:") {
			t.Errorf("%s: mountinfo %q does not name the driver and image", class, info)
		}
	}
}

func readOnlyRefusesWrites(t *testing.T, s *suite) {
	for class := range nodes() {
		_, err := s.exec(t, "reader-"+class, "touch", "/image/new")
		if err == nil || !strings.Contains(err.Error(), "Read-only file system") {
			t.Errorf("%s: writing to a read-only volume: %v, want Read-only file system", class, err)
		}
	}
}

func writableVolume(t *testing.T, s *suite) {
	for class, node := range nodes() {
		name := "writer-" + class
		s.apply(t, pod(name, class, inline(knownImage, false)))
		s.waitReady(t, name)
		s.run(t, name, "sh", "-c", "echo mine >/image/hello.txt && mkdir /image/new && rm -r /image/sub")
		s.endContainer(t, name)
		got := s.run(t, name, "sh", "-c", "cat /image/hello.txt; ls -d /image/new; ls -d /image/sub 2>/dev/null || true")
		if got != "mine\n/image/new" {
			t.Errorf("%s: the next container finds %q", class, got)
		}
		s.waitForWritableDirectories(t, node, 1)
		s.deletePods(t, name)
		s.waitForWritableDirectories(t, node, 0)
	}
	for class := range nodes() {
		if got := s.run(t, "reader-"+class, "cat", "/image/hello.txt"); got != strings.TrimSpace(known) {
			t.Errorf("%s: a writer changed what a reader sees: %q", class, got)
		}
	}
}

func persistentVolume(t *testing.T, s *suite) {
	for class := range nodes() {
		s.apply(t, claim("known-"+class, knownImage+"#"+class, knownImage))
		s.apply(t, pod("claimer-"+class, class, claimed("known-"+class)))
	}
	for class := range nodes() {
		s.waitReady(t, "claimer-"+class)
		if got := s.run(t, "claimer-"+class, "cat", "/image/hello.txt"); got != strings.TrimSpace(known) {
			t.Errorf("%s: /image/hello.txt holds %q", class, got)
		}
		s.deletePods(t, "claimer-"+class)
		s.dropClaims(t, "known-"+class)
	}
}

func volumeSurvivesPluginRestart(t *testing.T, s *suite) {
	s.must(t, "-n", s.namespace, "delete", "pod", "-l", "imagecsi.dev/driver="+driver, "--wait", "--timeout=90s")
	for class, node := range nodes() {
		s.waitFor(t, soon, "1", "-n", s.namespace, "get", "daemonset", driver+"-"+class, "-o", "jsonpath={.status.numberReady}")
		s.waitFor(t, soon, driver, "get", "csinode", node, "-o", "jsonpath={.spec.drivers[*].name}")
		if got := s.run(t, "reader-"+class, "cat", "/image/hello.txt"); got != strings.TrimSpace(known) {
			t.Errorf("%s: after the restart /image/hello.txt holds %q", class, got)
		}
	}
}

func missingImage(t *testing.T, s *suite) {
	s.failing(t, "missing", inline("registry.example/e2e/no-such:1", true), "ImageNotFound", "kubectl -n default delete pod missing-", "no-such:1", "does not exist")
}

func wrongReference(t *testing.T, s *suite) {
	s.failing(t, "wrong", inline("registry.example/Upper:1", true), "ReferenceInvalid", "in small letters", "registry.example/Upper:1", "reference")
}

// failing starts a pod that cannot start. It wants one event that holds every word, and kubectl imagecsi to name the cause and the cure.
func (s *suite) failing(t *testing.T, name, volume, cause, cure string, words ...string) {
	t.Helper()
	for class := range nodes() {
		pod := pod(name+"-"+class, class, volume)
		s.apply(t, pod)
	}
	for class := range nodes() {
		s.waitForEvent(t, name+"-"+class, words...)
		s.tellsWhy(t, name+"-"+class, cause, cure)
		s.deletePods(t, name+"-"+class)
	}
}

func removal(t *testing.T, s *suite) {
	s.must(t, "delete", "imagecsidriver", driver, "--wait=false")
	poll.Until(t, "the driver says what it waits for", soon, func() error {
		said, err := s.kubectl(t.Context(), "", "get", "imagecsidriver", driver, "-o", "jsonpath={.status.conditions[*].message} {.status.problems[*].message}")
		if err != nil {
			return err
		}
		if !strings.Contains(said, "reader-") {
			return fmt.Errorf("%q names no pod", said)
		}
		t.Log(said)
		return nil
	})
	for class := range nodes() {
		if got := s.run(t, "reader-"+class, "cat", "/image/hello.txt"); got != strings.TrimSpace(known) {
			t.Errorf("%s: while removal waits, /image/hello.txt holds %q", class, got)
		}
	}
	s.must(t, "delete", "pod", "-l", "app=e2e", "--wait", "--timeout=90s")
	s.must(t, "wait", "--for=delete", "--timeout=120s", "imagecsidriver/"+driver)
	for _, kind := range []string{"daemonset", "pod", "serviceaccount"} {
		s.waitFor(t, soon, "", "-n", s.namespace, "get", kind, "-l", "imagecsi.dev/driver="+driver, "-o", "name")
	}
	s.waitFor(t, soon, "", "get", "csidriver", "-o", "name")
	for class, node := range nodes() {
		s.waitFor(t, soon, "", "get", "node", node, "-o", `jsonpath={.metadata.labels.imagecsi\.dev/node-class}`)
		s.waitFor(t, soon, "", "get", "csinode", node, "-o", "jsonpath={.spec.drivers[*].name}")
		s.nothingLeft(t, class, node)
	}
}
