package controllers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// A rollout that works takes moments here, and one that does not some seconds: the API server's times have no fractions.
const rolledOut = 30 * time.Second

// impatient is a driver whose node plugins have proved themselves as soon as they are ready.
func impatient(d *v1alpha1.ImageCSIDriver) {
	d.Spec.Rollout.MinReadySeconds = ptr.To[int32](0)
	d.Spec.Rollout.ProgressDeadlineSeconds = ptr.To[int32](5)
	d.Spec.Rollout.MaxUnavailable = ptr.To(intstr.FromInt32(2))
}

// served is a cluster in which every node serves the driver with image v1.
func served(c *cluster, nodes int) *fleet {
	c.Helper()
	for i := range nodes {
		name := fmt.Sprintf("n%d", i)
		c.node(name, "containerd://2.1.4")
		c.register(name, driverName)
	}
	c.driver(driverName, impatient, func(d *v1alpha1.ImageCSIDriver) { d.Spec.NodePlugin.Image = "v1" })
	f := c.fleet()
	// The fleet's DaemonSet controller may not have seen every label yet when it has done all it knows of.
	c.Eventually(f.images, rolledOut).Should(Equal(slices.Repeat([]string{"v1"}, nodes)))
	c.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseComplete))
	f.MostDown()
	return f
}

func (f *fleet) phase() v1alpha1.RolloutPhase {
	if rollout := f.statusOf(driverName).Rollout; rollout != nil {
		return rollout.Phase
	}
	return ""
}

// update sets the node plugin's image, and how changes roll out.
func (f *fleet) update(image string, state v1alpha1.RolloutState) {
	f.Helper()
	f.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.NodePlugin.Image, d.Spec.Rollout.State = image, state
	})
}

func TestAChangeThatFailsOnTheCanaryIsTakenBack(t *testing.T) {
	f := served(newCluster(t).start(), 4)
	before := f.uids()
	f.Wait("v2", "ImagePullBackOff", "manifest unknown")
	f.update("v2", v1alpha1.RolloutActive)

	f.Eventually(f.images, rolledOut).Should(Equal([]string{"v2", "v1", "v1", "v1"}))
	f.Eventually(f.condition(driverName, "Degraded"), rolledOut).Should(Equal("True RolloutFailed"))
	f.Eventually(f.images, rolledOut).Should(Equal([]string{"v1", "v1", "v1", "v1"}))
	f.Eventually(f.condition(driverName, "Progressing"), rolledOut).Should(Equal("False RolloutFailed"))
	degraded := meta.FindStatusCondition(f.statusOf(driverName).Conditions, "Degraded")
	f.Expect(degraded.Message).To(And(ContainSubstring("node n0"), ContainSubstring("manifest unknown")))
	f.Expect(f.statusOf(driverName).Rollout.Failure).To(HaveField("Node", "n0"))
	after := f.uids()
	for _, node := range []string{"n1", "n2", "n3"} {
		f.Expect(after[node]).To(Equal(before[node]), "the node plugin of "+node+" was replaced")
	}
	f.settle()
	writes := f.writes.Load()
	f.touch("n0")
	f.Consistently(f.images, 6*time.Second).Should(HaveEach("v1"), "a change that failed is not tried again without a change")
	f.Expect(f.writes.Load()).To(Equal(writes))

	f.update("v3", v1alpha1.RolloutActive)
	f.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseComplete))
	f.Expect(f.images()).To(HaveEach("v3"))
	f.Expect(f.condition(driverName, "Degraded")()).To(Equal("False AsExpected"))
}

func TestAChangeGoesToTheCanaryAndThenInWaves(t *testing.T) {
	f := served(newCluster(t).start(), 6)
	f.Wait("v2", "ContainerCreating", "")
	f.update("v2", v1alpha1.RolloutActive)
	f.Eventually(f.condition(driverName, "Progressing"), rolledOut).Should(Equal("True RollingOut"))
	f.Eventually(f.images, rolledOut).Should(ContainElement("v2"))
	f.Consistently(f.images, quiet).Should(Equal([]string{"v2", "v1", "v1", "v1", "v1", "v1"}))
	f.Eventually(func() []string { return f.statusOf(driverName).Rollout.Updating }, soon).Should(Equal([]string{"n0"}))
	f.Expect(f.phase()).To(Equal(v1alpha1.PhaseCanary))

	f.Wait("v2", "", "")
	f.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseComplete))
	f.Expect(f.images()).To(HaveEach("v2"))
	f.Expect(f.MostDown()).To(BeNumerically("<=", 2))
	f.Expect(f.statusOf(driverName).NodeClasses[0].Updated).To(BeEquivalentTo(6))
}

func TestAPausedRolloutReplacesNothing(t *testing.T) {
	f := served(newCluster(t).start(), 2)
	before := f.uids()
	f.update("v2", v1alpha1.RolloutPaused)
	f.Eventually(f.condition(driverName, "Progressing"), rolledOut).Should(Equal("False Paused"))
	f.Consistently(f.uids, quiet).Should(Equal(before))
	f.update("v2", v1alpha1.RolloutActive)
	f.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseComplete))
	f.Expect(f.images()).To(HaveEach("v2"))
}

func TestAnotherOperatorGoesOnWithARollout(t *testing.T) {
	c := newCluster(t)
	stop := c.operate()
	f := served(c, 4)
	f.Wait("v2", "ContainerCreating", "")
	f.update("v2", v1alpha1.RolloutActive)
	f.Eventually(f.images, rolledOut).Should(Equal([]string{"v2", "v1", "v1", "v1"}))
	stop()
	f.Wait("v2", "", "")
	f.Consistently(f.images, quiet).Should(Equal([]string{"v2", "v1", "v1", "v1"}))
	stop = c.operate()
	f.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseComplete))
	f.Expect(f.images()).To(HaveEach("v2"))

	f.Wait("v3", "CrashLoopBackOff", "")
	f.update("v3", v1alpha1.RolloutActive)
	f.Eventually(f.images, rolledOut).Should(Equal([]string{"v3", "v2", "v2", "v2"}))
	stop()
	c.start()
	f.Eventually(f.images, rolledOut).Should(HaveEach("v2"))
	f.Eventually(f.condition(driverName, "Degraded"), rolledOut).Should(Equal("True RolloutFailed"))
}

func TestACanaryWhoseNodeIsRemovedIsReplaced(t *testing.T) {
	f := served(newCluster(t).start(), 3)
	f.Wait("v2", "ContainerCreating", "")
	f.update("v2", v1alpha1.RolloutActive)
	f.Eventually(f.images, rolledOut).Should(Equal([]string{"v2", "v1", "v1"}))
	f.Expect(f.Delete(f.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n0"}})).To(Succeed())
	f.Eventually(f.images, rolledOut).Should(Equal([]string{"v2", "v1"}))
	f.Wait("v2", "", "")
	f.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseComplete))
	f.Expect(f.images()).To(Equal([]string{"v2", "v2"}))
}

func TestARebootedOrAddedNodeIsNoProgress(t *testing.T) {
	f := served(newCluster(t).start(), 2)
	f.node("n9", "containerd://2.1.4")
	f.Eventually(f.images, rolledOut).Should(HaveLen(3))
	f.Eventually(f.counts(driverName), soon).Should(HaveField("Eligible", BeEquivalentTo(3)))
	pods := &corev1.PodList{}
	f.Expect(f.List(f.ctx, pods)).To(Succeed())
	f.endPod(&pods.Items[0])
	f.reportsAs("n1", corev1.ConditionUnknown)
	f.Consistently(f.condition(driverName, "Progressing"), quiet).Should(Equal("False RolledOut"))
	f.reportsAs("n1", corev1.ConditionTrue)
	f.Consistently(f.condition(driverName, "Progressing"), quiet).Should(Equal("False RolledOut"))
}

// reportsAs plays a kubelet that stops or starts to report.
func (f *fleet) reportsAs(name string, status corev1.ConditionStatus) {
	f.Helper()
	f.Eventually(func() error {
		node := &corev1.Node{}
		if err := f.Get(f.ctx, client.ObjectKey{Name: name}, node); err != nil {
			return err
		}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, LastTransitionTime: metav1.Now()}}
		return f.Status().Update(f.ctx, node)
	}, soon).Should(Succeed())
}
