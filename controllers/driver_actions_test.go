package controllers_test

import (
	"fmt"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

const (
	driverName = contract.DefaultDriverName
	soon       = 10 * time.Second
	quiet      = 1500 * time.Millisecond
)

// driver creates an ImageCSIDriver.
func (c *cluster) driver(name string, edits ...func(*v1alpha1.ImageCSIDriver)) {
	c.Helper()
	driver := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, edit := range edits {
		edit(driver)
	}
	c.Expect(c.Create(c.ctx, driver)).To(Succeed())
}

// change updates an object until the server takes it.
func (c *cluster) change(object client.Object, edit func()) {
	c.Helper()
	c.Eventually(func() error {
		if err := c.Get(c.ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		edit()
		return c.Update(c.ctx, object)
	}, soon).Should(Succeed())
}

func (c *cluster) changeDriver(name string, edit func(*v1alpha1.ImageCSIDriver)) {
	c.Helper()
	driver := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.change(driver, func() { edit(driver) })
}

// node plays a kubelet that joins the cluster.
func (c *cluster) node(name, runtime string, edits ...func(*corev1.Node)) {
	c.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: "linux"}}}
	for _, edit := range edits {
		edit(node)
	}
	info := node.Status.NodeInfo
	c.Expect(c.Create(c.ctx, node)).To(Succeed())
	node.Status.NodeInfo = info
	node.Status.NodeInfo.OperatingSystem = "linux"
	node.Status.NodeInfo.ContainerRuntimeVersion = runtime
	c.Expect(c.Status().Update(c.ctx, node)).To(Succeed())
}

// runtime plays a node that comes back with another container runtime.
func (c *cluster) runtime(name, runtime string) {
	c.Helper()
	c.changeStatus(name, func(n *corev1.Node) { n.Status.NodeInfo.ContainerRuntimeVersion = runtime })
}

// changeStatus plays a kubelet that reports something else.
func (c *cluster) changeStatus(name string, change func(*corev1.Node)) {
	c.Helper()
	node := &corev1.Node{}
	c.Eventually(func() error {
		if err := c.Get(c.ctx, client.ObjectKey{Name: name}, node); err != nil {
			return err
		}
		change(node)
		return c.Status().Update(c.ctx, node)
	}, soon).Should(Succeed())
}

// ready plays a kubelet that reports, or the node lifecycle controller where none does.
func (c *cluster) ready(name string, status corev1.ConditionStatus) {
	c.Helper()
	node := &corev1.Node{}
	c.Expect(c.Get(c.ctx, client.ObjectKey{Name: name}, node)).To(Succeed())
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, LastTransitionTime: metav1.Now(), LastHeartbeatTime: metav1.Now()}}
	c.Expect(c.Status().Update(c.ctx, node)).To(Succeed())
}

// register plays a kubelet that has registered CSI drivers.
func (c *cluster) register(node string, drivers ...string) {
	c.Helper()
	owner := &corev1.Node{}
	c.Expect(c.Get(c.ctx, client.ObjectKey{Name: node}, owner)).To(Succeed())
	c.registerFor(owner.UID, node, drivers...)
}

// registerFor plays the kubelet of a node that may be gone.
func (c *cluster) registerFor(owner types.UID, node string, drivers ...string) {
	c.Helper()
	csiNode := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: node}}
	c.Expect(client.IgnoreNotFound(c.Delete(c.ctx, csiNode))).To(Succeed())
	csiNode = &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: node, OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "v1", Kind: "Node", Name: node, UID: owner}}}}
	for _, driver := range drivers {
		csiNode.Spec.Drivers = append(csiNode.Spec.Drivers, storagev1.CSINodeDriver{Name: driver, NodeID: node})
	}
	c.Expect(c.Create(c.ctx, csiNode)).To(Succeed())
}

// user creates a pod with an inline volume of the driver.
func (c *cluster) user(name, node, driver string) *corev1.Pod {
	c.Helper()
	return c.pod("default", name, node, corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driver}}, nil)
}

func (c *cluster) pod(namespace, name, node string, volume corev1.VolumeSource, labels map[string]string) *corev1.Pod {
	c.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName:   node,
			Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}},
			Volumes:    []corev1.Volume{{Name: "image", VolumeSource: volume}},
		},
	}
	c.Expect(c.Create(c.ctx, pod)).To(Succeed())
	return pod
}

func (c *cluster) endPod(pod *corev1.Pod) {
	c.Helper()
	c.Expect(c.Delete(c.ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
}

func (c *cluster) daemonSet(class string) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: render.DaemonSetName(driverName, class)}}
}

func (c *cluster) classOf(node string) func() string {
	return func() string {
		var found corev1.Node
		if err := c.Get(c.ctx, client.ObjectKey{Name: node}, &found); err != nil {
			return err.Error()
		}
		return found.Labels[contract.NodeClassLabel]
	}
}

func (c *cluster) statusOf(name string) v1alpha1.ImageCSIDriverStatus {
	var driver v1alpha1.ImageCSIDriver
	if err := c.Get(c.ctx, client.ObjectKey{Name: name}, &driver); err != nil {
		return v1alpha1.ImageCSIDriverStatus{}
	}
	return driver.Status
}

// condition returns "Status Reason" of a driver's condition.
func (c *cluster) condition(driver, kind string) func() string {
	return func() string {
		found := meta.FindStatusCondition(c.statusOf(driver).Conditions, kind)
		if found == nil {
			return "missing"
		}
		return fmt.Sprintf("%s %s", found.Status, found.Reason)
	}
}

func (c *cluster) counts(driver string) func() v1alpha1.NodeCounts {
	return func() v1alpha1.NodeCounts { return c.statusOf(driver).Nodes }
}

// problems returns "node reason" of a driver's problems.
func (c *cluster) problems(driver string) func() []string {
	return func() []string {
		out := []string{}
		for _, problem := range c.statusOf(driver).Problems {
			out = append(out, problem.Node+" "+string(problem.Reason))
		}
		return out
	}
}

func (c *cluster) exists(object client.Object) func() bool {
	return func() bool {
		return c.Get(c.ctx, client.ObjectKeyFromObject(object), object) == nil
	}
}

// settle waits until the operator writes nothing more.
func (c *cluster) settle() {
	c.Helper()
	for last := int64(-1); last != c.writes.Load(); time.Sleep(quiet) {
		last = c.writes.Load()
	}
}

func quantity(text string) resource.Quantity { return resource.MustParse(text) }
