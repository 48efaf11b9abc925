package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster/gobuild"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/test/internal/clusters"
)

// legacyInstallation is the legacy driver as plain manifests have it, from its documented flags, and a DaemonSet and a label of somebody
// else. The program is test/internal/legacydriver.
const legacyInstallation = `
apiVersion: v1
kind: Namespace
metadata: {name: storage}
---
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: ` + driver + `, labels: {team: storage}}
spec: {attachRequired: false, podInfoOnMount: true, fsGroupPolicy: None, volumeLifecycleModes: [Persistent, Ephemeral]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: csi-image-warm-metal, namespace: storage}
spec:
  selector: {matchLabels: {app: legacy}}
  template:
    metadata: {labels: {app: legacy}}
    spec:
      terminationGracePeriodSeconds: 5
      tolerations: [{operator: Exists}]
      containers:
        - name: plugin
          image: registry.example/mirror/container-image-csi-driver:v2.1.9
          command: [/legacydriver]
          args: [--endpoint=unix:///var/lib/kubelet/plugins/` + driver + `/csi.sock, --node=$(NODE), "--runtime-addr=containerd:///run/containerd/containerd.sock",
            "--content=` + byTheLegacyDriver + `"]
          env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
          securityContext: {privileged: true}
          volumeMounts: [{name: kubelet, mountPath: /var/lib/kubelet, mountPropagation: Bidirectional}, {name: plugin, mountPath: /csi}]
        - name: registrar
          image: registry.example/mirror/container-image-csi-driver:v2.1.9
          command: [/legacydriver]
          args: [--csi-address=/csi/csi.sock, --kubelet-registration-path=/var/lib/kubelet/plugins/` + driver + `/csi.sock]
          volumeMounts: [{name: plugin, mountPath: /csi}, {name: registration, mountPath: /registration}]
      volumes:
        - {name: kubelet, hostPath: {path: /var/lib/kubelet}}
        - {name: plugin, hostPath: {path: /var/lib/kubelet/plugins/` + driver + `, type: DirectoryOrCreate}}
        - {name: registration, hostPath: {path: /var/lib/kubelet/plugins_registry}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: of-somebody-else, namespace: storage}
spec:
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: other}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "docker.io/library/busybox:1", command: [sleep, infinity]}]
`

// byTheLegacyDriver is what volumes show that the legacy driver has mounted.
const byTheLegacyDriver = "mounted by the legacy driver"

// registersAgain is more than a kubelet takes to register a driver whose sockets are new, on a machine that is busy: the node plugin looks
// once a second, and the kubelet at once.
const registersAgain = 10 * time.Second

const legacySet = "daemonset/csi-image-warm-metal"

// TestHandover hands the nodes over from a legacy driver under running pods, is killed in the middle, goes back, goes there again and
// removes the legacy driver. It has a target of its own, make test-handover, and takes some four minutes.
func TestHandover(t *testing.T) {
	if os.Getenv("IMAGECSI_HANDOVER") == "" {
		t.Skip("make test-handover runs it")
	}
	s := start(t, "e2e")
	t.Cleanup(func() {
		if t.Failed() {
			s.cluster.Dump(t)
		}
	})
	s.legacyDriverServes(t)
	others := s.ofSomebodyElse(t)
	before := s.asBefore(t)

	s.apply(t, onNode("old", inline(knownImage, true))...)
	s.waitReady(t, onEach("old")...)
	s.show(t, "old", byTheLegacyDriver)
	mounts := s.mountsOf(t, "old")

	legacyPod := []string{"-n", "storage", "get", "pods", "-l", "app=legacy", "--field-selector", "spec.nodeName=n2", "-o", "jsonpath={.items[*].metadata.uid}"}
	first := s.must(t, legacyPod...)
	pods, without := s.keepMakingPods(t), s.watchRegistrations(t)
	s.killedAfter(t, "node n1: the legacy driver's pod leaves", "migrate", "--apply")
	if now := s.must(t, legacyPod...); now != first {
		t.Errorf("the legacy driver's pod of n2 was %s, and is %s before its turn", first, now)
	}
	s.migrates(t, "done: every node is handed over", "migrate", "--apply")
	for node, made := range pods() {
		if made < 2 {
			t.Errorf("%d pods were made on %s meanwhile", made, node)
		}
	}
	s.handedOver(t)
	for node, longest := range without() {
		t.Logf("%s was without a registration for %s at most", node, longest.Round(100*time.Millisecond))
		if longest > registersAgain {
			t.Errorf("%s was without a registration for %s", node, longest)
		}
	}
	s.waitedForRegistration(t)
	s.show(t, "old", byTheLegacyDriver)
	if after := s.mountsOf(t, "old"); after != mounts {
		t.Errorf("the mounts of pods were\n%s\nand are\n%s", mounts, after)
	}
	s.deletePods(t, onEach("old")...)
	s.apply(t, onNode("new", inline(knownImage, true))...)
	s.waitReady(t, onEach("new")...)
	s.show(t, "new", strings.TrimSpace(known))

	if _, err := s.kubectl(t.Context(), "", "imagecsi", "migrate", "--back", "--apply", "--timeout=5s"); err == nil || !strings.Contains(err.Error(), "default/new-containerd") {
		t.Errorf("the way back does not name the pod that it waits for: %v", err)
	}
	s.show(t, "new", strings.TrimSpace(known))
	s.deletePods(t, onEach("new")...)
	s.killedAfter(t, "node n1: gets the legacy driver's pod back", "migrate", "--back", "--apply")
	s.migrates(t, "done: the legacy driver serves as before", "migrate", "--back", "--apply")
	s.must(t, "-n", "storage", "rollout", "status", legacySet, "--timeout=90s")
	if after := s.asBefore(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	s.apply(t, onNode("again", inline(knownImage, true))...)
	s.waitReady(t, onEach("again")...)
	s.show(t, "again", byTheLegacyDriver)

	s.migrates(t, "kubectl --namespace storage delete daemonset csi-image-warm-metal", "migrate", "--apply")
	s.must(t, "-n", "storage", "delete", legacySet, "--wait", "--timeout=90s")
	s.migrates(t, "done: there is no DaemonSet of the legacy driver", "migrate", "--apply")
	s.handedOver(t)
	s.show(t, "again", byTheLegacyDriver)
	s.deletePods(t, onEach("again")...)
	if after := s.ofSomebodyElse(t); after != others {
		t.Errorf("of somebody else:\n%s\nafter:\n%s", others, after)
	}
	s.must(t, "delete", "imagecsidriver", driver, "--timeout=90s")
}

// legacyDriverServes installs the legacy driver.
func (s *suite) legacyDriverServes(t *testing.T) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "legacydriver")
	if err := gobuild.Program(t.Context(), filepath.Join(s.root, "test"), "./internal/legacydriver", program); err != nil {
		t.Fatal(err)
	}
	file, err := image.Program(program, "/legacydriver")
	if err != nil {
		t.Fatal(err)
	}
	built, err := image.Data([]image.File{file})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.Push(t.Context(), "mirror/container-image-csi-driver:v2.1.9", built); err != nil {
		t.Fatal(err)
	}
	s.apply(t, legacyInstallation)
	s.must(t, "label", "nodes", "--all", "team=storage")
	for _, set := range []string{legacySet, "daemonset/of-somebody-else"} {
		s.must(t, "-n", "storage", "rollout", "status", set, "--timeout=90s")
	}
	for _, node := range nodes() {
		s.waitFor(t, soon, legacyNodeID, s.nodeIDOn(node)...)
	}
}

// onNode are pods that are bound to nodes by their names: there are no classes yet.
func onNode(name string, volumes ...string) (manifests []string) {
	for class, node := range nodes() {
		manifests = append(manifests, strings.Replace(pod(name+"-"+class, class, volumes...), "imagecsi.dev/node-class: "+class, "kubernetes.io/hostname: "+node, 1))
	}
	return manifests
}

// show wants pods on both nodes to read a text.
func (s *suite) show(t *testing.T, name, text string) {
	t.Helper()
	for _, pod := range onEach(name) {
		if got := s.run(t, pod, "cat", "/image/hello.txt"); got != text {
			t.Errorf("%s reads %q, want %q", pod, got, text)
		}
	}
}

// mountsOf are the lines of the mount tables for pods' volumes.
func (s *suite) mountsOf(t *testing.T, name string) string {
	t.Helper()
	var lines strings.Builder
	for _, node := range []string{"containerd", "crio"} {
		fmt.Fprintln(&lines, s.run(t, name+"-"+node, "grep", " /image ", "/proc/self/mountinfo"))
	}
	return lines.String()
}

// asBefore is what a handover changes and the way back gives back.
func (s *suite) asBefore(t *testing.T) string {
	t.Helper()
	return strings.Join([]string{
		s.must(t, "-n", "storage", "get", legacySet, "-o", "jsonpath={.spec} {.metadata.annotations.imagecsi\\.dev/handover} {.status.numberReady}"),
		s.must(t, "get", "csidriver", driver, "-o", "jsonpath={.metadata.labels} {.spec}"),
		s.must(t, "get", "nodes", "-o", "jsonpath={.items[*].metadata.labels}"),
		s.must(t, "get", "imagecsidrivers", "-o", "name"),
	}, "\n")
}

// ofSomebodyElse is what a handover leaves alone.
func (s *suite) ofSomebodyElse(t *testing.T) string {
	t.Helper()
	return s.must(t, "-n", "storage", "get", "daemonset/of-somebody-else", "-o", "jsonpath={.metadata.uid} {.metadata.generation}") + "\n" +
		s.must(t, "-n", "storage", "get", "pods", "-l", "app=other", "-o", "jsonpath={.items[*].metadata.uid} {.items[*].status.containerStatuses[*].restartCount}") + "\n" +
		s.must(t, "get", "nodes", "-o", "jsonpath={.items[*].metadata.labels.team}")
}

// handedOver wants node plugins alone on the nodes, registered, and no label of the handover.
func (s *suite) handedOver(t *testing.T) {
	t.Helper()
	for class, node := range nodes() {
		s.waitFor(t, soon, node, s.nodeIDOn(node)...)
		s.waitFor(t, soon, "1", "-n", s.namespace, "get", "daemonset", driver+"-"+class, "-o", "jsonpath={.status.numberReady}")
	}
	if pods := s.must(t, "-n", "storage", "get", "pods", "-l", "app=legacy", "-o", "name"); pods != "" {
		t.Errorf("there still are %s", pods)
	}
	for _, label := range []string{"imagecsi.dev/exclude", "imagecsi.dev/legacy-driver"} {
		if nodes := s.must(t, "get", "nodes", "-l", label, "-o", "name"); nodes != "" {
			t.Errorf("%s still have the label %s", nodes, label)
		}
	}
}

// migrates runs a migration to its end, which says a word.
func (s *suite) migrates(t *testing.T, says string, args ...string) {
	t.Helper()
	said := s.must(t, append([]string{"imagecsi"}, args...)...)
	t.Log(said)
	if !strings.Contains(said, says) {
		t.Errorf("it does not say %q", says)
	}
}

// killedAfter runs a migration until it says a line, and kills it.
func (s *suite) killedAfter(t *testing.T, line string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clusters.CallLimit)
	defer cancel()
	command := s.cluster.Plugin(ctx, args...)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	found := false
	for lines := bufio.NewScanner(out); !found && lines.Scan(); {
		t.Log(lines.Text())
		found = lines.Text() == line
	}
	_ = command.Process.Kill()
	if err := command.Wait(); !found {
		t.Fatalf("it ends with %v before it says %q", err, line)
	}
}

// keepMakingPods makes one pod after the other on both nodes, each of which has to start and to read either driver's text, until the
// returned function is called, which returns how many there were on each node.
func (s *suite) keepMakingPods(t *testing.T) func() map[string]int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		made  = map[string]int{}
	)
	for class, node := range nodes() {
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("meanwhile-%s-%d", class, i)
				if err := s.onePod(name, class, node); err != nil {
					t.Errorf("pod %s: %v", name, err)
					return
				}
				mu.Lock()
				made[node]++
				mu.Unlock()
			}
		})
	}
	return func() map[string]int {
		cancel()
		group.Wait()
		return made
	}
}

// watchRegistrations has the API server tell when the kubelets register the driver, until the returned function is called, which returns
// how long each node was without it at a time.
func (s *suite) watchRegistrations(t *testing.T) func() map[string]time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	command := s.cluster.Running(ctx, "get", "csinodes", "--watch", "-o", `jsonpath={.metadata.name}={.spec.drivers[*].name}{"\n"}`)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	longest, gone, done := map[string]time.Duration{}, map[string]time.Time{}, make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			node, drivers, _ := strings.Cut(lines.Text(), "=")
			since, was := gone[node]
			switch has := strings.Contains(drivers, driver); {
			case has && was:
				t.Logf("%s was without a registration for %s", node, time.Since(since).Round(time.Millisecond))
				longest[node] = max(longest[node], time.Since(since))
				delete(gone, node)
			case has:
				longest[node] += 0
			case !was:
				gone[node] = time.Now()
			}
		}
	}()
	return func() map[string]time.Duration {
		cancel()
		<-done
		_ = command.Wait()
		if len(longest) != len(nodes()) || len(gone) > 0 {
			t.Errorf("of the registrations it was seen: %v, and without one are %v", longest, gone)
		}
		return longest
	}
}

// waitedForRegistration wants nothing to have kept a volume from the pods that were made meanwhile but that the driver was not registered,
// or that its socket was just being replaced.
func (s *suite) waitedForRegistration(t *testing.T) {
	t.Helper()
	failed := s.must(t, "get", "events", "--field-selector", "reason=FailedMount", "-o", `jsonpath={range .items[*]}{.involvedObject.name}: {.count}: {.message}{"\n"}{end}`)
	for _, event := range strings.Split(failed, "\n") {
		if !strings.HasPrefix(event, "meanwhile-") || strings.Contains(event, `volume "kube-api-access-`) {
			continue
		}
		t.Log(event)
		if !strings.Contains(event, "not found in the list of registered CSI drivers") && !strings.Contains(event, "/csi.sock: ") {
			t.Error("its volume failed otherwise")
		}
	}
}

// onePod makes a pod, reads its volume, and deletes it.
func (s *suite) onePod(name, class, node string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	manifest := strings.Replace(pod(name, class, inline(knownImage, true)), "imagecsi.dev/node-class: "+class, "kubernetes.io/hostname: "+node, 1)
	if _, err := s.kubectl(ctx, manifest, "apply", "-f", "-"); err != nil {
		return err
	}
	if _, err := s.kubectl(ctx, "", "wait", "pod", name, "--for=condition=Ready", "--timeout=90s"); err != nil {
		return err
	}
	text, err := s.kubectl(ctx, "", "exec", name, "--", "cat", "/image/hello.txt")
	if err == nil && text != byTheLegacyDriver && text != strings.TrimSpace(known) {
		err = fmt.Errorf("it reads %q", text)
	}
	_, deleted := s.kubectl(ctx, "", "delete", "pod", name, "--wait", "--timeout=90s")
	return errors.Join(err, deleted)
}
