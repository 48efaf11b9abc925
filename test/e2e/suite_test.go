package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
	"github.com/image-csi/image-csi-operator/hack/cluster/image"
	"github.com/image-csi/image-csi-operator/hack/cluster/programs"
	"github.com/image-csi/image-csi-operator/hack/cluster/project"
	"github.com/image-csi/image-csi-operator/test/internal/exclusive"
)

const clusterName = "e2e"

// operatorNamespace is that of the operator's Deployment.
const operatorNamespace = "image-csi-operator"

// suite is a two-node cluster with the operator installed.
type suite struct {
	cluster   *cluster.Cluster
	programs  string // the directory of kubectl
	plugins   string // the directory of its plugin
	root      string // the checkout
	namespace string // the node plugins'
}

func TestMain(m *testing.M) {
	cluster.Init()
	os.Exit(m.Run())
}

// start brings the cluster up and installs the operator as config/default says; the test's end takes it down.
func start(t *testing.T) *suite {
	t.Helper()
	if missing := cluster.CannotRunNodes(); missing != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("the end-to-end test cannot run: ", missing)
		}
		t.Skip(missing)
	}
	unlock, err := exclusive.Cluster(t.Context(), clusterName)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	s := &suite{namespace: "image-csi-system"}
	if err := s.setUp(t); err != nil {
		t.Fatal("set up the cluster: ", err)
	}
	return s
}

func (s *suite) setUp(t *testing.T) (err error) {
	if s.root, err = checkout.Root(); err != nil {
		return err
	}
	kubernetes, err := programs.Kubernetes(release())
	if err != nil {
		return err
	}
	if s.programs, err = kubernetes.Dir(); err != nil {
		return err
	}
	if err := programs.InstallDebian(t.Context(), os.Stdout, "busybox-static", "bubblewrap"); err != nil {
		return err
	}
	config := cluster.Config{
		Name:       clusterName,
		Kubernetes: release(),
		Nodes:      []cluster.NodeConfig{{Name: "n1", Runtime: cluster.Containerd}, {Name: "n2", Runtime: cluster.CRIO}},
		Progress:   func(step string) { t.Log(step) },
	}
	t.Cleanup(func() { takeDown(t) })
	if s.cluster, err = cluster.Up(t.Context(), config); err != nil {
		return err
	}
	if err := errors.Join(s.push(t), s.buildPlugin(t.Context(), t.TempDir())); err != nil {
		return err
	}
	return s.install(t)
}

// release is the Kubernetes release under test.
func release() string {
	if release := os.Getenv("KUBERNETES"); release != "" {
		return release
	}
	return cluster.DefaultKubernetes
}

func takeDown(t *testing.T) {
	c, err := cluster.Open(clusterName)
	if err != nil {
		return // it never came up
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Down(ctx); err != nil {
		t.Error(err)
	}
}

func (s *suite) push(t *testing.T) error {
	binaries, err := project.Build(t.Context(), t.TempDir())
	if err != nil {
		return err
	}
	if err := binaries.Push(t.Context(), s.cluster); err != nil {
		return err
	}
	data, err := image.Data(
		[]image.File{{Path: "/hello.txt", Content: []byte("a lower layer's\n")}, {Path: "/sub/file", Content: []byte("x\n")}},
		[]image.File{{Path: "/hello.txt", Content: []byte(known)}},
	)
	if err != nil {
		return err
	}
	if err := s.cluster.Push(t.Context(), privateImage, data); err != nil {
		return err
	}
	return s.cluster.Push(t.Context(), "e2e/known:1", data)
}

func (s *suite) install(t *testing.T) error {
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", "config/default"},
		{"wait", "--for=condition=Established", "--timeout=60s", "crd/imagecsidrivers.storage.imagecsi.dev"},
		{"-n", operatorNamespace, "wait", "--for=condition=Available", "--timeout=120s", "deployment", "--all"},
	} {
		if _, err := s.kubectl(t.Context(), "", args...); err != nil {
			return err
		}
	}
	return nil
}

// dump logs what helps to understand a failure, and no more: what the failed step said comes after it.
func (s *suite) dump(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"get", "imagecsidrivers", "-o", "jsonpath={range .items[*]}{.metadata} {.spec} {.status} {end}"},
		{"get", "nodes,csinodes,csidrivers", "--show-labels"},
		{"get", "daemonsets,pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--field-selector", "type=Warning", "--sort-by=.lastTimestamp"},
		{"-n", operatorNamespace, "logs", "--all-containers", "--prefix", "--tail=30", "-l", "app.kubernetes.io/name=image-csi-operator"},
		{"-n", s.namespace, "logs", "--all-containers", "--prefix", "--tail=20", "-l", "imagecsi.dev/driver"},
	} {
		out, err := s.kubectl(ctx, "", args...)
		if err != nil {
			out += fmt.Sprintf("\n%v", err)
		}
		t.Logf("kubectl %v:\n%s", args, out)
	}
}
