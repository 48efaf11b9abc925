package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
)

// TestClusterWithContainerdAndCRIO brings up a cluster, uses it as tests do, and wants nothing left of it.
func TestClusterWithContainerdAndCRIO(t *testing.T) {
	needRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	config := testConfig(t, cluster.NodeConfig{Name: "c", Runtime: cluster.Containerd}, cluster.NodeConfig{Name: "o", Runtime: cluster.CRIO})
	c := up(ctx, t, config)
	client := clientOf(t, c)
	busybox, err := image.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Push(ctx, "test/busybox:1", busybox); err != nil {
		t.Fatal(err)
	}

	for _, node := range c.Nodes() {
		// Every registry's images come from the cluster's own.
		runPod(ctx, t, client, pod(node.Name(), "docker.io"))
		runPod(ctx, t, client, podWithUserNamespace(node.Name(), c.Registry()))
	}
	for _, node := range c.Nodes() {
		t.Run("commands run inside node "+node.Name(), func(t *testing.T) { testCommand(ctx, t, node) })
	}
	t.Run("a second Up keeps what runs", func(t *testing.T) {
		before := pids(c)
		if _, err := cluster.Up(ctx, config); err != nil {
			t.Fatal(err)
		}
		if pids(c) != before {
			t.Errorf("nodes were %s, are %s", before, pids(c))
		}
	})
	for _, node := range c.Nodes() {
		t.Run("node "+node.Name()+" comes back after a power cut", func(t *testing.T) { testReboot(ctx, t, client, node) })
	}
	t.Run("Up repairs a cluster whose processes were all killed", func(t *testing.T) {
		if err := cluster.KillAll(c); err != nil {
			t.Fatal(err)
		}
		if _, err := cluster.Up(ctx, config); err != nil {
			t.Fatal(err)
		}
	})
	if err := c.Down(ctx); err != nil {
		t.Fatal(err)
	}
	wantNothingLeft(t, c)
}

// TestClusterWithoutNodes needs no root.
func TestClusterWithoutNodes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	config := testConfig(t)
	c := up(ctx, t, config)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}
	if _, err := clientOf(t, c).CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Halt(ctx); err != nil {
		t.Fatal(err)
	}
	if c.Running() {
		t.Error("the cluster runs after Halt")
	}
	c = up(ctx, t, config)
	if _, err := clientOf(t, c).CoreV1().Namespaces().Get(ctx, "kept", metav1.GetOptions{}); err != nil {
		t.Errorf("what was there before Halt: %v", err)
	}
	if err := c.Down(ctx); err != nil {
		t.Fatal(err)
	}
	wantNothingLeft(t, c)
}

// TestNodesWithoutControlPlane brings up container runtimes only, as tests of the node plugin do.
func TestNodesWithoutControlPlane(t *testing.T) {
	needRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	config := testConfig(t, cluster.NodeConfig{Name: "old", Runtime: cluster.Containerd16}, cluster.NodeConfig{Name: "o", Runtime: cluster.CRIO})
	config.ControlPlane = cluster.ControlPlaneNone
	c := up(ctx, t, config)
	for _, node := range c.Nodes() {
		testCommand(ctx, t, node)
	}
	if _, err := c.RESTConfig(); err == nil {
		t.Error("there is an API server to talk to")
	}
	node, err := c.Node("old")
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := node.Command(ctx, "true").Run(); !errors.Is(err, cluster.ErrNodeStopped) {
		t.Errorf("a command in a stopped node: got %v, want ErrNodeStopped", err)
	}
	if err := c.Down(ctx); err != nil {
		t.Fatal(err)
	}
	wantNothingLeft(t, c)
}

func testCommand(ctx context.Context, t *testing.T, node *cluster.Node) {
	out, err := node.Command(ctx, "sh", "-c", "hostname; cat /proc/1/comm").CombinedOutput()
	if want := node.Name() + "\nimagecsi-node-i\n"; err != nil || string(out) != want {
		t.Errorf("got %q and %v, want %q", out, err, want)
	}
	if conn, err := net.Dial("unix", node.Root()+node.RuntimeSocket()); err != nil {
		t.Errorf("dial the runtime from outside: %v", err)
	} else {
		conn.Close()
	}
	if err := node.Command(ctx, "sh", "-c", "exit 3").Run(); err == nil || err.Error() != "exit status 3" {
		t.Errorf("got %v, want exit status 3", err)
	}
}

func testReboot(ctx context.Context, t *testing.T, client kubernetes.Interface, node *cluster.Node) {
	before := node.PID()
	if err := node.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	if node.PID() == before || node.PID() == 0 {
		t.Errorf("the node's init was %d and is %d", before, node.PID())
	}
	waitForPod(ctx, t, client, "on-"+node.Name(), func(p *corev1.Pod) bool {
		statuses := p.Status.ContainerStatuses
		return len(statuses) == 1 && statuses[0].Ready && statuses[0].RestartCount == 1
	})
}

// pod runs for as long as it may.
func pod(node, registryHost string) *corev1.Pod {
	grace := int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "on-" + node},
		Spec: corev1.PodSpec{
			NodeName:                      node,
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name:    "main",
				Image:   registryHost + "/test/busybox:1",
				Command: []string{"/bin/sleep", "3600"},
			}},
		},
	}
}

func podWithUserNamespace(node, registryHost string) *corev1.Pod {
	p := pod(node, registryHost)
	hostUsers := false
	p.Name, p.Spec.HostUsers = "userns-on-"+node, &hostUsers
	return p
}

func runPod(ctx context.Context, t *testing.T, client kubernetes.Interface, p *corev1.Pod) {
	t.Helper()
	pods := client.CoreV1().Pods(metav1.NamespaceDefault)
	// The default service account comes a moment after the API server.
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := pods.Create(ctx, p, metav1.CreateOptions{})
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("create pod %s: %v", p.Name, err)
	}
	waitForPod(ctx, t, client, p.Name, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
}

func waitForPod(ctx context.Context, t *testing.T, client kubernetes.Interface, name string, done func(*corev1.Pod) bool) {
	t.Helper()
	var last *corev1.Pod
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		p, err := client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, nil //nolint:nilerr // the API server may be starting: ask again
		}
		last = p
		return done(p), nil
	})
	if err != nil {
		events, _ := client.CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		for _, e := range events.Items {
			t.Logf("%s %s: %s", e.InvolvedObject.Name, e.Reason, e.Message)
		}
		t.Fatalf("pod %s: %v; last seen: %+v", name, err, last)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs root")
	}
	t.Skip("needs root: nodes are made of namespaces and mounts")
}

func testConfig(t *testing.T, nodes ...cluster.NodeConfig) cluster.Config {
	t.Helper()
	return cluster.Config{
		Name:     fmt.Sprintf("test-%d", os.Getpid()),
		StateDir: filepath.Join(t.TempDir(), "state"),
		Nodes:    nodes,
		Progress: func(step string) { t.Logf("%s %s", time.Now().Format("05.0"), step) },
	}
}

func up(ctx context.Context, t *testing.T, config cluster.Config) *cluster.Cluster {
	t.Helper()
	start := time.Now()
	c, err := cluster.Up(ctx, config)
	if c != nil {
		t.Cleanup(func() {
			if err := c.Down(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("up after %.1fs", time.Since(start).Seconds())
	return c
}

func clientOf(t *testing.T, c *cluster.Cluster) kubernetes.Interface {
	t.Helper()
	config, err := c.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func pids(c *cluster.Cluster) string {
	var all []string
	for _, node := range c.Nodes() {
		all = append(all, fmt.Sprintf("%s=%d", node.Name(), node.PID()))
	}
	return strings.Join(all, " ")
}

// wantNothingLeft looks for whatever carries the cluster's name or state directory.
func wantNothingLeft(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	mark := "imagecsi-" + c.Name()
	for _, pattern := range []string{"/run/imagecsi-cluster/" + mark + "-*", "/sys/fs/cgroup/" + mark, "/sys/fs/cgroup/*/" + mark, c.StateDir()} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			t.Errorf("left: %v", found)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(c.StateDir())) || bytes.Contains(mounts, []byte(mark)) {
		t.Error("mounts are left")
	}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if content, err := os.ReadFile(file); err == nil && bytes.Contains(content, []byte(c.StateDir())) {
			t.Errorf("process %s is left: %s", file, bytes.ReplaceAll(content, []byte{0}, []byte{' '}))
		}
	}
}
