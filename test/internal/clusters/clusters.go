package clusters

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/hack/cluster"
	"github.com/image-csi/image-csi-operator/hack/cluster/checkout"
	"github.com/image-csi/image-csi-operator/hack/cluster/gobuild"
	"github.com/image-csi/image-csi-operator/hack/cluster/programs"
	"github.com/image-csi/image-csi-operator/hack/cluster/project"
	"github.com/image-csi/image-csi-operator/test/internal/exclusive"
)

// Namespaces of an installation of config/default.
const (
	// OperatorNamespace is that of the operator's Deployment.
	OperatorNamespace = "image-csi-operator"
	// PluginNamespace is the node plugins'.
	PluginNamespace = "image-csi-system"
)

// Cluster is a running cluster.
type Cluster struct {
	*cluster.Cluster
	// Root is the checkout, in which commands run.
	Root string

	kubernetes string // the directory of kubectl
	plugins    string // the directory of its plugin
}

// Up brings a cluster up, and takes it down at the test's end. The program's image is in its registry. Debian packages are for the
// images that the test makes. Where nodes cannot run, the test is skipped; in CI it fails.
func Up(t *testing.T, config cluster.Config, packages ...string) *Cluster {
	t.Helper()
	if missing := cluster.CannotRunNodes(); missing != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("the test cannot run: ", missing)
		}
		t.Skip(missing)
	}
	unlock, err := exclusive.Cluster(t.Context(), config.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	config.Kubernetes = release()
	config.Progress = func(step string) { t.Log(step) }
	c := &Cluster{plugins: t.TempDir()}
	if err := c.up(t, config, packages); err != nil {
		t.Fatal("set up the cluster: ", err)
	}
	return c
}

func (c *Cluster) up(t *testing.T, config cluster.Config, packages []string) (err error) {
	if c.Root, err = checkout.Root(); err != nil {
		return err
	}
	kubernetes, err := programs.Kubernetes(config.Kubernetes)
	if err != nil {
		return err
	}
	if c.kubernetes, err = kubernetes.Dir(); err != nil {
		return err
	}
	if err := programs.InstallDebian(t.Context(), os.Stdout, packages...); err != nil {
		return err
	}
	t.Cleanup(func() { takeDown(t, config.Name) })
	if c.Cluster, err = cluster.Up(t.Context(), config); err != nil {
		return err
	}
	binaries, err := project.Build(t.Context(), t.TempDir())
	if err != nil {
		return err
	}
	return errors.Join(binaries.Push(t.Context(), c.Cluster), c.buildPlugin(t.Context()))
}

// release is the Kubernetes release under test.
func release() string {
	if release := os.Getenv("KUBERNETES"); release != "" {
		return release
	}
	return cluster.DefaultKubernetes
}

func takeDown(t *testing.T, name string) {
	c, err := cluster.Open(name)
	if err != nil {
		return // it never came up
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Down(ctx); err != nil {
		t.Error(err)
	}
}

// buildPlugin builds `kubectl imagecsi`, which kubectl finds in PATH.
func (c *Cluster) buildPlugin(ctx context.Context) error {
	return gobuild.Program(ctx, c.Root, "./cmd/kubectl-imagecsi", filepath.Join(c.plugins, "kubectl-imagecsi"))
}

// Install installs the operator as config/default says.
func (c *Cluster) Install(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", "config/default"},
		{"wait", "--for=condition=Established", "--timeout=60s", "crd/imagecsidrivers.storage.imagecsi.dev"},
		{"-n", OperatorNamespace, "wait", "--for=condition=Available", "--timeout=120s", "deployment", "--all"},
	} {
		if _, err := c.Kubectl(t.Context(), "", args...); err != nil {
			c.Dump(t)
			t.Fatal("install the operator: ", err)
		}
	}
}

// Dump logs what helps to understand a failure, and no more: what the failed step said comes after it.
func (c *Cluster) Dump(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"get", "imagecsidrivers", "-o", "jsonpath={range .items[*]}{.metadata} {.spec} {.status} {end}"},
		{"get", "nodes,csinodes,csidrivers", "--show-labels"},
		{"get", "daemonsets,pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--field-selector", "type=Warning", "--sort-by=.lastTimestamp"},
		{"-n", OperatorNamespace, "logs", "--all-containers", "--prefix", "--tail=30", "-l", "app.kubernetes.io/name=image-csi-operator"},
		{"-n", PluginNamespace, "logs", "--all-containers", "--prefix", "--tail=20", "-l", "imagecsi.dev/driver"},
	} {
		out, err := c.Kubectl(ctx, "", args...)
		if err != nil {
			out += fmt.Sprintf("\n%v", err)
		}
		t.Logf("kubectl %v:\n%s", args, out)
	}
}
