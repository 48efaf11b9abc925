package storm_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/hack/cluster/project"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/installation"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

const (
	root = "../.."
	// soon is more than any step takes that waits for no lease.
	soon = 30 * time.Second
	// takeover is more than it takes until another operator has the lease of one that says nothing any more: 15 s, and up
	// to 2 s until it asks.
	takeover = 40 * time.Second
)

// binaries are the project's, as they are released.
var binaries project.Binaries

func TestMain(m *testing.M) {
	os.Exit(runWithProgram(m))
}

func runWithProgram(m *testing.M) int {
	ctrl.SetLogger(logr.Discard()) // The operator has a log of its own.
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return m.Run() // Each test says so.
	}
	dir, err := os.MkdirTemp("", "image-csi-storm-")
	if err == nil {
		defer os.RemoveAll(dir)
		binaries, err = project.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// cluster is an API server, nodes, and a driver that is to be installed.
type cluster struct {
	*testing.T
	*installation.Server
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("KUBEBUILDER_ASSETS is not set; in CI the tests against an API server must run")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no API server to test against")
	}
	server, err := installation.Start(t.Context(), root, t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, server.Stop()) })
	return &cluster{T: t, Server: server}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// operate runs an operator, and has its log when the test fails.
func (c *cluster) operate() *installation.Program {
	c.Helper()
	p, err := c.Launch(c.Context(), binaries.Manager, "--leader-elect")
	must(c.T, err)
	c.Cleanup(func() {
		// One that has ended already is no matter.
		_ = p.Stop()
		if c.Failed() {
			c.Logf("the operator %s said:\n%s", p.Address, p.Log.String())
		}
	})
	return p
}

// node plays a kubelet that joins the cluster and has registered the driver.
func (c *cluster) node(name string) {
	c.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: "linux"}}}
	must(c.T, c.Create(c.Context(), node))
	node.Status.NodeInfo = corev1.NodeSystemInfo{OperatingSystem: "linux", ContainerRuntimeVersion: "containerd://2.1.4"}
	must(c.T, c.Status().Update(c.Context(), node))
	csiNode := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}}
	csiNode.Spec.Drivers = []storagev1.CSINodeDriver{{Name: contract.DefaultDriverName, NodeID: name}}
	must(c.T, c.Create(c.Context(), csiNode))
}

// install creates a driver with image v1.
func (c *cluster) install() {
	c.Helper()
	driver := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: contract.DefaultDriverName}}
	driver.Spec.NodePlugin.Image = "v1"
	driver.Spec.Rollout.MinReadySeconds = ptr.To[int32](1)
	driver.Spec.Rollout.MaxUnavailable = ptr.To(intstr.FromInt32(maxUnavailable))
	must(c.T, c.Create(c.Context(), driver))
}

func (c *cluster) setImage(image string) {
	c.Helper()
	patch := fmt.Sprintf(`{"spec": {"nodePlugin": {"image": %q}}}`, image)
	driver := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: contract.DefaultDriverName}}
	must(c.T, c.Patch(c.Context(), driver, client.RawPatch("application/merge-patch+json", []byte(patch))))
}

func (c *cluster) driver() (*v1alpha1.ImageCSIDriver, error) {
	driver := &v1alpha1.ImageCSIDriver{}
	return driver, c.Get(c.Context(), client.ObjectKey{Name: contract.DefaultDriverName}, driver)
}

// waitForRollout waits until every node has an image and the driver rests.
func (c *cluster) waitForRollout(f *fleet, image string, nodes int, within time.Duration) {
	c.Helper()
	poll.Until(c.T, "the rollout of "+image, within, func() error {
		driver, err := c.driver()
		switch {
		case err != nil:
			return err
		case f.with(image) != nodes:
			return fmt.Errorf("%d nodes of %d have it", f.with(image), nodes)
		case driver.Status.Rollout == nil || driver.Status.Rollout.Phase != v1alpha1.PhaseComplete:
			return fmt.Errorf("status.rollout is %+v", driver.Status.Rollout)
		case int(driver.Status.Nodes.Ready) != nodes:
			return fmt.Errorf("%d nodes are ready", driver.Status.Nodes.Ready)
		}
		return nil
	})
}
