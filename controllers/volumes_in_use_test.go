package controllers_test

import (
	"testing"

	. "github.com/onsi/gomega"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

func ignoreVolumes(d *v1alpha1.ImageCSIDriver) { d.Spec.VolumesInUse = v1alpha1.VolumesIgnore }

func (c *cluster) ignoredPods(driver string) func() []v1alpha1.IgnoredPod {
	return func() []v1alpha1.IgnoredPod { return c.statusOf(driver).IgnoredPods }
}

// notes returns the notes of a driver's events with a reason.
func (c *cluster) notes(driver *v1alpha1.ImageCSIDriver, reason string) func() []string {
	return func() []string {
		var events eventsv1.EventList
		c.Expect(c.List(c.ctx, &events, client.InNamespace("default"))).To(Succeed())
		notes := []string{}
		for _, event := range events.Items {
			if event.Regarding.UID == driver.UID && event.Reason == reason {
				notes = append(notes, event.Note)
			}
		}
		return notes
	}
}

func (c *cluster) lookUp(name string) *v1alpha1.ImageCSIDriver {
	c.Helper()
	driver := &v1alpha1.ImageCSIDriver{}
	c.Expect(c.Get(c.ctx, client.ObjectKey{Name: name}, driver)).To(Succeed())
	return driver
}

func TestAnUninstallThatWaitsGoesOnWhenVolumesAreIgnored(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	c.user("web", "one", driverName)
	driver := c.lookUp(driverName)
	c.deleteDriver(driverName)
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("True WaitingForVolumes"))
	c.Consistently(c.exists(c.daemonSet("containerd")), quiet).Should(BeTrue())
	c.Expect(c.notes(driver, "VolumesIgnored")()).To(BeEmpty())

	c.changeDriver(driverName, ignoreVolumes)
	c.Eventually(c.exists(driver), soon).Should(BeFalse())
	c.Expect(c.exists(c.daemonSet("containerd"))()).To(BeFalse())
	c.Expect(c.exists(csiDriver(driverName))()).To(BeFalse())
	c.Expect(c.classOf("one")()).To(BeEmpty())
	c.Eventually(c.notes(driver, "VolumesIgnored"), soon).Should(ConsistOf(ContainSubstring("1 node use volumes of the driver (on node one: default/web)")))
}

func TestARemovedDriverTellsWhomItLeftBehindUntilItIsBack(t *testing.T) {
	c := newCluster(t).start()
	for _, node := range []string{"one", "two", "three"} {
		c.node(node, "containerd://2.1.4")
	}
	c.driver(driverName, impatient, ignoreVolumes)
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	c.user("web", "two", driverName)
	c.user("db", "one", driverName)
	left := []v1alpha1.IgnoredPod{{Node: "one", Pod: "default/db"}, {Node: "two", Pod: "default/web"}}

	c.changeDriver(driverName, state(v1alpha1.Removed))
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("False Removed"))
	c.Expect(c.ignoredPods(driverName)()).To(Equal(left))
	c.Expect(meta.FindStatusCondition(c.statusOf(driverName).Conditions, "Progressing").Message).To(ContainSubstring("status.ignoredPods"))
	c.Expect(c.counts(driverName)().Waiting).To(BeZero())
	c.touch("three")
	c.Consistently(c.ignoredPods(driverName), quiet).Should(Equal(left))
	c.Eventually(c.notes(c.lookUp(driverName), "VolumesIgnored"), soon).Should(HaveLen(1))

	c.changeDriver(driverName, state(v1alpha1.Managed))
	c.fleet()
	c.register("one", driverName)
	c.Eventually(c.ignoredPods(driverName), soon).Should(Equal(left[1:]), "one is served again, two is not")
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.VolumesInUse = v1alpha1.VolumesWait })
	c.Eventually(c.ignoredPods(driverName), soon).Should(BeEmpty())
	c.Expect(c.notes(c.lookUp(driverName), "VolumesIgnored")()).To(HaveLen(1))
}

func TestANodeChangesItsClassAtOnceWhenVolumesAreIgnored(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName, impatient)
	c.fleet()
	c.register("one", driverName)
	c.Eventually(c.condition(driverName, "Available"), soon).Should(Equal("True NodesReady"))
	c.user("web", "one", driverName)
	c.runtime("one", "cri-o://1.36.3")
	c.Eventually(c.problems(driverName), soon).Should(Equal([]string{"one WaitingForVolumes"}))
	c.Consistently(c.classOf("one"), quiet).Should(Equal("containerd"))

	c.changeDriver(driverName, ignoreVolumes)
	c.Eventually(c.classOf("one"), soon).Should(Equal("crio"))
	c.Eventually(c.notes(c.lookUp(driverName), "VolumesIgnored"), soon).Should(ConsistOf(ContainSubstring("on node one: default/web")))
	c.Expect(c.counts(driverName)().Waiting).To(BeZero())
	c.Eventually(c.ignoredPods(driverName), soon).Should(BeEmpty(), "the node plugin of its new class serves it")
}

func TestANodeThatIsLeftOutHasItsIgnoredPodTold(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName, ignoreVolumes)
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.user("web", "one", driverName)
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.NodePlugin.NodeSelector = map[string]v1alpha1.LabelValue{"pool": "images"}
	})
	c.Eventually(c.classOf("one"), soon).Should(BeEmpty())
	c.settle()
	c.touch("one")
	c.settle()
	c.Expect(c.ignoredPods(driverName)()).To(Equal([]v1alpha1.IgnoredPod{{Node: "one", Pod: "default/web"}}))
}

func TestADriverIgnoresNoVolumesOfAnother(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName, ignoreVolumes)
	c.driver("second.example.com")
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.user("mine", "one", driverName)
	theirs := c.user("theirs", "one", "second.example.com")
	c.runtime("one", "cri-o://1.36.3")
	c.Eventually(c.problems(driverName), soon).Should(ContainElement("one WaitingForVolumes"))
	c.Expect(c.statusOf(driverName).Problems[0].Message).To(ContainSubstring("default/theirs"))
	c.Consistently(c.classOf("one"), quiet).Should(Equal("containerd"))
	c.Expect(c.ignoredPods(driverName)()).To(BeEmpty(), "nothing has happened to it")

	c.endPod(theirs)
	c.touch("one")
	c.Eventually(c.classOf("one"), soon).Should(Equal("crio"))
	c.Eventually(c.ignoredPods(driverName), soon).Should(Equal([]v1alpha1.IgnoredPod{{Node: "one", Pod: "default/mine"}}))
}

func TestADriverThatIsGoneHoldsNoNode(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName, ignoreVolumes)
	c.driver("second.example.com")
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.user("left", "one", driverName)
	c.changeDriver(driverName, state(v1alpha1.Removed))
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("False Removed"))
	c.Expect(c.classOf("one")()).To(Equal("containerd"), "the second driver needs it")

	c.runtime("one", "cri-o://1.36.3")
	c.Eventually(c.classOf("one"), soon).Should(Equal("crio"))
}

func TestARemovalLeavesEachNodeOnceNothingThereUsesAVolume(t *testing.T) {
	c := newCluster(t).start()
	c.node("busy", "containerd://2.1.4")
	c.node("free", "containerd://2.1.4")
	c.node("other", "cri-o://1.36.3")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("crio")), soon).Should(BeTrue())
	user := c.user("web", "busy", driverName)
	c.changeDriver(driverName, state(v1alpha1.Removed))
	for _, node := range []string{"free", "other"} {
		c.Eventually(c.classOf(node), soon).Should(BeEmpty(), node)
	}
	c.Eventually(c.exists(c.daemonSet("crio")), soon).Should(BeFalse())
	c.Eventually(c.problems(driverName), soon).Should(Equal([]string{"busy WaitingForVolumes"}))
	c.Consistently(c.classOf("busy"), quiet).Should(Equal("containerd"))
	c.Expect(c.exists(c.daemonSet("containerd"))()).To(BeTrue())

	c.endPod(user)
	c.touch("busy")
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("False Removed"))
	c.Expect(c.classOf("busy")()).To(BeEmpty())
}

func TestADroppedAliasIsServedUntilNoPodUsesIt(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.Aliases = []v1alpha1.DriverName{"alias.example.com"} })
	c.driver("second.example.com")
	alias, daemonSet := csiDriver("alias.example.com"), c.daemonSet("containerd")
	c.Eventually(c.exists(alias), soon).Should(BeTrue())
	serves := func() []string {
		c.Expect(c.exists(daemonSet)()).To(BeTrue())
		return daemonSet.Spec.Template.Spec.Containers[0].Args
	}
	c.Eventually(c.exists(daemonSet), soon).Should(BeTrue())
	pod := c.user("web", "one", "alias.example.com")

	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.Aliases = nil })
	c.Eventually(c.problems(driverName), soon).Should(ContainElement("one WaitingForVolumes"))
	c.Consistently(c.exists(alias), quiet).Should(BeTrue())
	c.Expect(serves()).To(ContainElement("--alias=alias.example.com"))
	c.Expect(c.lookUp(driverName).Spec.Aliases).To(BeEmpty(), "the spec is the administrator's")
	c.runtime("one", "cri-o://1.36.3")
	c.Consistently(c.classOf("one"), quiet).Should(Equal("containerd"), "no driver changes the node's class under the pod")
	c.runtime("one", "containerd://2.1.4")

	c.endPod(pod)
	c.touch("one")
	c.Eventually(c.exists(alias), soon).Should(BeFalse())
	c.Eventually(serves, soon).ShouldNot(ContainElement("--alias=alias.example.com"))
}

func TestADroppedAliasGoesAtOnceWhenVolumesAreIgnoredOrAnotherDriverWantsIt(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.Aliases = []v1alpha1.DriverName{"a.example.com", "b.example.com"}
	})
	c.driver("second.example.com")
	for _, alias := range []string{"a.example.com", "b.example.com"} {
		c.Eventually(c.exists(csiDriver(alias)), soon).Should(BeTrue())
		c.user("by-"+alias, "one", alias)
	}
	owner := func() string {
		found := csiDriver("a.example.com")
		c.exists(found)()
		return found.Labels[contract.DriverLabel]
	}
	c.changeDriver("second.example.com", func(d *v1alpha1.ImageCSIDriver) { d.Spec.Aliases = []v1alpha1.DriverName{"a.example.com"} })
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.Aliases = []v1alpha1.DriverName{"b.example.com"} })
	c.Eventually(owner, soon).Should(Equal("second.example.com"))

	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.Aliases, d.Spec.VolumesInUse = nil, v1alpha1.VolumesIgnore })
	c.Eventually(c.exists(csiDriver("b.example.com")), soon).Should(BeFalse())
	c.Eventually(c.notes(c.lookUp(driverName), "VolumesIgnored"), soon).Should(ConsistOf(ContainSubstring("default/by-b.example.com")))
}
