package controllers_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/contest"
)

func csiDriver(name string) *storagev1.CSIDriver {
	return &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func (c *cluster) deleteDriver(name string) {
	c.Helper()
	c.Expect(c.Delete(c.ctx, &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(Succeed())
}

func state(s v1alpha1.ManagementState) func(*v1alpha1.ImageCSIDriver) {
	return func(d *v1alpha1.ImageCSIDriver) { d.Spec.ManagementState = s }
}

func TestDeletionWaitsAndGoesInOrder(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	user := c.user("web", "one", driverName)
	plugin := c.pod(namespace, "plugin", "one", corev1.VolumeSource{}, map[string]string{contract.DriverLabel: driverName})
	driver := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}}

	// A foreground deletion must not reach the DaemonSets past the finalizer either.
	c.Expect(c.Delete(c.ctx, driver, client.PropagationPolicy(metav1.DeletePropagationForeground))).To(Succeed())
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("True WaitingForVolumes"))
	c.Expect(c.problems(driverName)()).To(Equal([]string{"one WaitingForVolumes"}))
	c.Consistently(c.exists(c.daemonSet("containerd")), quiet).Should(BeTrue())
	c.Expect(c.exists(csiDriver(driverName))()).To(BeTrue())
	c.Expect(c.daemonSetOwners("containerd")).To(BeEmpty())

	c.endPod(user)
	c.touch("one")
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeFalse())
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("True StoppingPlugins"))
	c.Consistently(c.exists(csiDriver(driverName)), quiet).Should(BeTrue(), "while a node plugin ends")
	c.Expect(c.classOf("one")()).To(Equal("containerd"))

	c.endPod(plugin)
	c.Eventually(c.exists(csiDriver(driverName)), soon).Should(BeFalse())
	c.Eventually(c.classOf("one"), soon).Should(BeEmpty())
	c.Eventually(func() []string {
		c.exists(driver)()
		return driver.Finalizers
	}, soon).Should(Equal([]string{metav1.FinalizerDeleteDependents}))
	c.change(driver, func() { driver.Finalizers = nil }) // The garbage collector's part of a foreground deletion.
	c.Eventually(c.exists(driver), soon).Should(BeFalse())
}

// The kubelet alone ends a pod, so on a dead node a node plugin's never ends.
func TestARemovalNamesADeadNodeAndIgnorePassesOverIt(t *testing.T) {
	c := newCluster(t).start()
	for _, name := range []string{"dead", "slow"} {
		c.node(name, "containerd://2.1.4")
	}
	c.ready("slow", corev1.ConditionTrue)
	c.ready("dead", corev1.ConditionUnknown)
	c.driver(driverName, impatient)
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	ours := map[string]string{contract.DriverLabel: driverName}
	dead := c.pod(namespace, "plugin-dead", "dead", corev1.VolumeSource{}, ours)
	slow := c.pod(namespace, "plugin-slow", "slow", corev1.VolumeSource{}, ours)
	for _, plugin := range []*corev1.Pod{dead, slow} {
		c.Expect(c.Delete(c.ctx, plugin, client.GracePeriodSeconds(1))).To(Succeed()) // The garbage collector's part.
	}
	c.deleteDriver(driverName)
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("True StoppingPlugins"))
	progressing := meta.FindStatusCondition(c.statusOf(driverName).Conditions, v1alpha1.ConditionProgressing)
	c.Expect(progressing.Message).To(ContainSubstring("2 nodes: dead, slow"))
	c.Eventually(c.problems(driverName), "30s").Should(Equal([]string{"dead NodePluginNotEnding", "slow NodePluginNotEnding"}))
	c.Expect(c.statusOf(driverName).Problems[0].Message).To(And(ContainSubstring("kubectl delete node dead"), ContainSubstring("delete pod plugin-dead --force")))
	c.Expect(c.statusOf(driverName).Problems[1].Message).To(ContainSubstring("kubelet's log"))
	c.Expect(c.condition(driverName, "Degraded")()).To(Equal("True NodePluginNotEnding"))

	driver := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}}
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.VolumesInUse = v1alpha1.VolumesIgnore })
	c.Eventually(c.problems(driverName), 2*soon).Should(Equal([]string{"slow NodePluginNotEnding"}))
	c.Consistently(c.exists(driver), quiet).Should(BeTrue(), "while a node plugin ends whose node reports")

	c.endPod(slow)
	c.Eventually(c.exists(driver), 2*soon).Should(BeFalse())
	c.Expect(c.exists(csiDriver(driverName))()).To(BeFalse())
	c.Expect(c.classOf("dead")()).To(BeEmpty())
	c.Expect(c.exists(dead)()).To(BeTrue())
}

// Nodes on which all is well are only counted, until it matters which they are.
func TestARemovalLooksAtTheNodesOnWhichAllIsWell(t *testing.T) {
	f := served(newCluster(t).start(), 3)
	user := f.user("web", "n1", driverName)
	f.deleteDriver(driverName)
	f.Eventually(f.problems(driverName), soon).Should(Equal([]string{"n1 WaitingForVolumes"}))
	f.Expect(f.statusOf(driverName).Nodes).To(And(HaveField("Total", int32(3)), HaveField("Waiting", int32(1))))

	f.endPod(user)
	f.touch("n1")
	f.Eventually(f.exists(f.daemonSet("containerd")), soon).Should(BeFalse())
	f.Expect(f.DeleteAllOf(f.ctx, &corev1.Pod{}, client.InNamespace(namespace), client.GracePeriodSeconds(0))).To(Succeed())
	for _, node := range []string{"n0", "n1", "n2"} {
		f.Eventually(f.classOf(node), soon).Should(BeEmpty())
	}
}

func TestHandEditsAreRepairedWhileARemovalWaits(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	daemonSet := c.daemonSet("containerd")
	c.Eventually(c.exists(daemonSet), soon).Should(BeTrue())
	c.user("web", "one", driverName)
	c.changeDriver(driverName, state(v1alpha1.Removed))
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("True WaitingForVolumes"))

	c.change(daemonSet, func() { daemonSet.Spec.Template.Spec.Containers[0].Image = "example.com/by-hand" })
	c.Eventually(func() string {
		c.exists(daemonSet)()
		return daemonSet.Spec.Template.Spec.Containers[0].Image
	}, soon).Should(Equal("example.com/node-plugin:v1"))
	c.Expect(c.Delete(c.ctx, csiDriver(driverName))).To(Succeed())
	c.Eventually(c.exists(csiDriver(driverName)), soon).Should(BeTrue())
	c.Expect(c.condition(driverName, "Progressing")()).To(Equal("True WaitingForVolumes"))
}

func (c *cluster) daemonSetOwners(class string) []metav1.OwnerReference {
	daemonSet := c.daemonSet(class)
	c.Expect(c.exists(daemonSet)()).To(BeTrue())
	return daemonSet.OwnerReferences
}

func TestRemovedKeepsTheObjectAndManagedBringsTheDriverBack(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())

	c.changeDriver(driverName, state(v1alpha1.Removed))
	c.Eventually(c.condition(driverName, "Available"), soon).Should(Equal("False Removed"))
	c.Expect(c.condition(driverName, "Progressing")()).To(Equal("False Removed"))
	c.Expect(c.exists(c.daemonSet("containerd"))()).To(BeFalse())
	c.Eventually(c.exists(csiDriver(driverName)), soon).Should(BeFalse())
	c.Expect(c.classOf("one")()).To(BeEmpty())

	c.changeDriver(driverName, state(v1alpha1.Managed))
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.Eventually(c.condition(driverName, "Available"), soon).Should(Equal("False NodesNotReady"))
}

// What the operator deletes itself is no edit from outside, however often it is made again. It takes some ten seconds.
func TestADriverThatIsRemovedAndBroughtBackOftenIsNotContested(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.exists(csiDriver(driverName)), soon).Should(BeTrue())
	for range contest.Contested + 1 {
		c.changeDriver(driverName, state(v1alpha1.Removed))
		c.Eventually(c.exists(csiDriver(driverName)), soon).Should(BeFalse())
		c.changeDriver(driverName, state(v1alpha1.Managed))
		c.Eventually(c.exists(csiDriver(driverName)), soon).Should(BeTrue())
	}
	c.settle()
	c.Expect(c.condition(driverName, "Degraded")()).To(Equal("False AsExpected"))
}

func TestUnmanagedIsLeftAlone(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	daemonSet := c.daemonSet("containerd")
	c.Eventually(c.exists(daemonSet), soon).Should(BeTrue())
	c.changeDriver(driverName, state(v1alpha1.Unmanaged))
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("False Unmanaged"))

	c.change(daemonSet, func() { daemonSet.Spec.Template.Spec.Containers[0].Image = "example.com/by-hand" })
	c.node("two", "cri-o://1.36.3")
	c.Eventually(c.counts(driverName), soon).Should(HaveField("Total", BeEquivalentTo(2)))
	c.Consistently(c.classOf("two"), quiet).Should(BeEmpty())
	c.Expect(c.exists(daemonSet)()).To(BeTrue())
	c.Expect(daemonSet.Spec.Template.Spec.Containers[0].Image).To(Equal("example.com/by-hand"))

	// Deleting the object of an unmanaged driver leaves the driver where it is.
	c.deleteDriver(driverName)
	c.Eventually(c.exists(&v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}}), soon).Should(BeFalse())
	c.Expect(c.exists(daemonSet)()).To(BeTrue())
	c.Expect(c.classOf("one")()).To(Equal("containerd"))
}

func TestANameHasOneOwner(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.driver("second.example.com", func(d *v1alpha1.ImageCSIDriver) { d.Spec.Aliases = []v1alpha1.DriverName{driverName} })
	c.Eventually(c.condition("second.example.com", "Degraded"), soon).Should(Equal("True NameConflict"))
	c.Expect(c.statusOf("second.example.com").Conditions).To(ContainElement(HaveField("Message", ContainSubstring("ImageCSIDriver "+driverName))))
	c.Consistently(c.exists(csiDriver("second.example.com")), quiet).Should(BeFalse())
	c.Expect(c.condition(driverName, "Degraded")()).To(Equal("False AsExpected"))

	c.deleteDriver(driverName)
	c.Eventually(c.condition("second.example.com", "Degraded"), soon).Should(Equal("False AsExpected"))
	c.Eventually(c.exists(csiDriver("second.example.com")), soon).Should(BeTrue())
	c.Eventually(func() string {
		found := csiDriver(driverName)
		c.exists(found)()
		return found.Labels[contract.DriverLabel]
	}, soon).Should(Equal("second.example.com"))
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
}

func TestTwoDriversShareTheNodes(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.driver("second.example.com")
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	c.Eventually(c.exists(csiDriver("second.example.com")), soon).Should(BeTrue())

	c.deleteDriver("second.example.com")
	c.Eventually(c.exists(csiDriver("second.example.com")), soon).Should(BeFalse())
	c.Consistently(c.classOf("one"), quiet).Should(Equal("containerd"))
	c.Expect(c.exists(c.daemonSet("containerd"))()).To(BeTrue())
}

// A driver that came later has the better claim to an alias that is its name, and unmounts what pods use by it.
func TestARemovalWaitsForNoPodsOfAnotherDriver(t *testing.T) {
	const second, foreign = "second.example.com", "vendor.example.com"
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.foreignDriver(foreign, false)
	c.driver(driverName)
	c.driver(second)
	c.Eventually(c.ownerOf(second), soon).Should(Equal(second))
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	c.user("theirs", "one", second)
	c.user("vendors", "one", foreign)
	mine := c.user("mine", "one", driverName)
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.Aliases = []v1alpha1.DriverName{second, foreign} })
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("True NameConflict"))

	c.deleteDriver(driverName)
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("True WaitingForVolumes"))
	c.endPod(mine)
	c.Eventually(c.exists(&v1alpha1.ImageCSIDriver{ObjectMeta: csiDriver(driverName).ObjectMeta}), soon).Should(BeFalse())
	c.Expect(c.ownerOf(second)()).To(Equal(second))
	c.Expect(c.classOf("one")()).To(Equal("containerd"))
}

// A node plugin that has ended with its driver is not one that starts: nothing has to be waited for.
func TestARemovalDoesNotWaitForNodesThatJoinedLately(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	plugin := c.pod(namespace, "plugin", "one", corev1.VolumeSource{}, map[string]string{contract.DriverLabel: driverName})
	c.register("one", driverName)
	c.Eventually(c.condition(driverName, "Available"), soon).Should(Equal("True NodesReady"))
	c.deleteDriver(driverName)
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("True StoppingPlugins"))
	c.register("one") // The kubelet sees the end of the node plugin, and then its pod is gone.
	c.endPod(plugin)
	c.Eventually(c.exists(&v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}}), soon).Should(BeFalse())
}
