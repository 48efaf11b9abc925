package controllers_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

func TestEveryNodeGetsItsClassAndEveryClassADaemonSet(t *testing.T) {
	c := newCluster(t).start()
	c.node("plain", "containerd://2.1.4")
	c.node("rocket", "containerd://1.7.27+bottlerocket", func(n *corev1.Node) { n.Status.NodeInfo.OSImage = "Bottlerocket OS 1.40.0" })
	c.node("light", "containerd://2.1.4-k3s1", func(n *corev1.Node) { n.Status.NodeInfo.KubeletVersion = "v1.34.1+k3s1" })
	c.node("red", "cri-o://1.36.3")
	c.node("whale", "docker://28.1.1")
	c.driver(driverName)

	for node, class := range map[string]string{"plain": "containerd", "rocket": "bottlerocket", "light": "k3s", "red": "crio"} {
		c.Eventually(c.classOf(node), soon).Should(Equal(class), node)
		c.Eventually(c.exists(c.daemonSet(class)), soon).Should(BeTrue(), class)
	}
	c.Eventually(c.counts(driverName), soon).Should(Equal(v1alpha1.NodeCounts{Summary: "0/4", Total: 5, Eligible: 4, Unsupported: 1}))
	c.Expect(c.statusOf(driverName).Unsupported).To(ConsistOf(And(
		HaveField("Reason", v1alpha1.ProblemRuntimeUnsupported), HaveField("Nodes", BeEquivalentTo(1)), HaveField("Node", "whale"))))
	c.Expect(c.classOf("whale")()).To(BeEmpty())
	c.Expect(c.problems(driverName)()).To(Equal([]string{"light NotRegistered", "plain NotRegistered", "red NotRegistered",
		"rocket NotRegistered", "whale RuntimeUnsupported"}))
	c.Expect(c.condition(driverName, "Available")()).To(Equal("False NodesNotReady"))
}

func TestRegistrationMakesAvailable(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.node("two", "cri-o://1.36.3")
	c.driver(driverName, impatient)
	c.fleet()
	c.register("one", "other.example.com", driverName)
	c.Eventually(c.counts(driverName), soon).Should(HaveField("Summary", "1/2"))
	c.register("two", driverName)
	c.Eventually(c.condition(driverName, "Available"), soon).Should(Equal("True NodesReady"))
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("False RolledOut"))
	c.Expect(c.condition(driverName, "Degraded")()).To(Equal("False AsExpected"))
	c.Expect(c.statusOf(driverName).ObservedGeneration).To(BeEquivalentTo(1))
	c.Expect(c.statusOf(driverName).NodeClasses).To(HaveLen(2))
	class := c.statusOf(driverName).NodeClasses[0]
	c.Expect(class.Revision).NotTo(BeEmpty())
	class.Revision = ""
	c.Expect(class).To(Equal(v1alpha1.NodeClassStatus{
		Name: "containerd", MountMode: "Nsenter", DaemonSet: driverName + "-containerd", Nodes: 1, Ready: 1, Updated: 1,
		RuntimeVersions: []string{"containerd://2.1.4"}, Confinement: &v1alpha1.Confinement{
			Container: v1alpha1.ContainerUnprivileged, Capabilities: []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP", "SYS_ADMIN"},
			SeccompProfiles: []string{"Process", "RuntimeDefault"}, AppArmorProfile: "Unconfined", SELinuxType: "spc_t", VolumeSELinuxType: "container_file_t", Network: v1alpha1.NetworkPod,
			Tighter: class.Confinement.Tighter}}))
}

func TestANodeThatJoinsHasItsTimeBeforeTheDriverIsUnavailable(t *testing.T) {
	f := served(newCluster(t).start(), 1) // With a deadline of five seconds.
	f.Eventually(f.condition(driverName, "Available"), soon).Should(Equal("True NodesReady"))
	f.node("joins", "containerd://2.1.4")
	f.Eventually(f.counts(driverName), soon).Should(HaveField("Summary", "1/2"))
	f.Consistently(f.condition(driverName, "Available"), "3s").Should(Equal("True NodesReady"))
	f.Eventually(f.condition(driverName, "Available"), 2*soon).Should(Equal("False NodesNotReady"), "nothing happens, and its time is over")
	f.register("joins", driverName)
	f.Eventually(f.condition(driverName, "Available"), soon).Should(Equal("True NodesReady"))
}

func TestAClassWithoutNodesLosesItsDaemonSet(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.node("two", "cri-o://1.36.3")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("crio")), soon).Should(BeTrue())
	c.Expect(c.Delete(c.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "two"}})).To(Succeed())
	c.Eventually(c.exists(c.daemonSet("crio")), soon).Should(BeFalse())
	c.Expect(c.exists(c.daemonSet("containerd"))()).To(BeTrue())
}

func TestANodeKeepsItsClassWhileAPodUsesAVolume(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.Aliases = []v1alpha1.DriverName{"alias.example.com"} })
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	pod := c.user("web", "one", "alias.example.com")

	c.runtime("one", "cri-o://1.36.3")
	c.Eventually(c.problems(driverName), soon).Should(Equal([]string{"one WaitingForVolumes"}))
	c.Expect(c.statusOf(driverName).Problems[0].Message).To(ContainSubstring("default/web"))
	c.Expect(c.counts(driverName)().Waiting).To(BeEquivalentTo(1))
	c.Expect(c.classOf("one")()).To(Equal("containerd"))
	c.Expect(c.exists(c.daemonSet("containerd"))()).To(BeTrue())

	c.endPod(pod)
	c.touch("one") // Instead of half a minute of waiting.
	c.Eventually(c.classOf("one"), soon).Should(Equal("crio"))
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeFalse())
	c.Expect(c.exists(c.daemonSet("crio"))()).To(BeTrue())
}

func TestNodesThatRunNoDaemonSetsAndThoseTakenOutNeedNoNodePlugin(t *testing.T) {
	c := newCluster(t).start()
	c.node("machine", "containerd://2.1.4")
	c.node("fargate", "containerd://1.7.27", func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "eks.amazonaws.com/compute-type", Value: "fargate", Effect: corev1.TaintEffectNoSchedule}}
	})
	c.node("virtual", "", func(n *corev1.Node) {
		n.Labels = map[string]string{"type": "virtual-kubelet"}
		n.Status.NodeInfo.OperatingSystem = "Linux"
	})
	c.node("out", "containerd://2.1.4", func(n *corev1.Node) { n.Labels = map[string]string{contract.ExcludeLabel: "true"} })
	c.node("gpu", "containerd://2.1.4", func(n *corev1.Node) { n.Labels = map[string]string{"pool": "gpu"} })
	c.register("machine", driverName)
	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.NodePlugin.NodeSelectorTerms = []v1alpha1.NodeSelectorTerm{{MatchExpressions: []v1alpha1.NodeSelectorRequirement{
			{Key: "pool", Operator: v1alpha1.NodeSelectorNotIn, Values: []v1alpha1.LabelValue{"gpu"}}}}}
	})
	c.Eventually(c.counts(driverName), soon).Should(Equal(v1alpha1.NodeCounts{Summary: "1/1", Total: 5, Eligible: 1, Ready: 1, Unsupported: 2}))
	c.Eventually(c.condition(driverName, "Available"), soon).Should(Equal("True NodesReady"))
	c.Expect(c.statusOf(driverName).Unsupported).To(ConsistOf(And(
		HaveField("Reason", v1alpha1.ProblemNoDaemonSets), HaveField("Nodes", BeEquivalentTo(2)), HaveField("Node", "fargate"))))
	for _, node := range []string{"fargate", "virtual", "out", "gpu"} {
		c.Expect(c.classOf(node)()).To(BeEmpty(), node)
	}
}

// The operating system's policy counts, not the name of the class that an administrator adds.
func TestAnAddedClassHasTheSELinuxTypeOfItsNodes(t *testing.T) {
	c := newCluster(t).start()
	c.node("rocket", "containerd://1.7.27+bottlerocket", func(n *corev1.Node) {
		n.Labels = map[string]string{"pool": "gpu"}
		n.Status.NodeInfo.OSImage = "Bottlerocket OS 1.40.0"
	})
	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.NodeClasses = []v1alpha1.NodeClass{{Name: "gpu", MountMode: contract.ModeNsenter, RuntimeEndpoint: "unix:///run/containerd/containerd.sock",
			Match: &v1alpha1.NodeMatch{Runtime: contract.RuntimeContainerd, NodeLabels: map[string]v1alpha1.LabelValue{"pool": "gpu"}}}}
	})
	daemonSet := c.daemonSet("gpu")
	c.Eventually(c.exists(daemonSet), soon).Should(BeTrue())
	seLinux := func() *corev1.SELinuxOptions {
		c.exists(daemonSet)()
		return daemonSet.Spec.Template.Spec.Containers[0].SecurityContext.SELinuxOptions
	}
	c.Expect(seLinux()).To(BeNil())

	// The kubelet writes Unknown where it cannot read the operating system's name.
	c.changeStatus("rocket", func(n *corev1.Node) { n.Status.NodeInfo.OSImage = "Unknown" })
	c.Consistently(seLinux, "2s").Should(BeNil())
}

// The kubelet writes containerd://Unknown while containerd does not answer it.
func TestARuntimeThatDoesNotAnswerCostsNothing(t *testing.T) {
	f := served(newCluster(t).start(), 1)
	f.Eventually(f.condition(driverName, "Available"), soon).Should(Equal("True NodesReady"))
	daemonSet := f.daemonSet("containerd")
	f.Expect(f.exists(daemonSet)()).To(BeTrue())
	f.user("web", "n0", driverName)

	f.runtime("n0", "containerd://Unknown")
	f.Eventually(f.problems(driverName), soon).Should(Equal([]string{"n0 RuntimeNotAnswering"}))
	f.Consistently(f.classOf("n0"), "2s").Should(Equal("containerd"))
	f.Expect(f.counts(driverName)()).To(Equal(v1alpha1.NodeCounts{Summary: "0/1", Total: 1, Eligible: 1}))
	same := f.daemonSet("containerd")
	f.Expect(f.exists(same)()).To(BeTrue())
	f.Expect(same.UID).To(Equal(daemonSet.UID))

	f.runtime("n0", "containerd://2.1.4")
	f.Eventually(f.problems(driverName), soon).Should(BeEmpty())
	f.Eventually(f.condition(driverName, "Available"), soon).Should(Equal("True NodesReady"))
}

func TestANodeOutsideTheSelectionKeepsItsClassWhileAClaimIsInUse(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.Expect(c.Create(c.ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: quantity("1Mi")},
			AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driverName, VolumeHandle: "x"}},
			ClaimRef:               &corev1.ObjectReference{Namespace: "default", Name: "data"},
		},
	})).To(Succeed())
	pod := c.pod("default", "web", "one", corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}, nil)

	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.NodePlugin.NodeSelector = map[string]v1alpha1.LabelValue{"pool": "images"}
	})
	c.Eventually(c.problems(driverName), soon).Should(Equal([]string{"one WaitingForVolumes"}))
	c.Expect(c.classOf("one")()).To(Equal("containerd"))
	c.endPod(pod)
	c.touch("one")
	c.Eventually(c.classOf("one"), soon).Should(BeEmpty())
	c.Eventually(c.condition(driverName, "Available"), soon).Should(Equal("False NoEligibleNodes"))
}

func TestAHeartbeatCausesNothing(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.register("one", driverName)
	c.driver(driverName, impatient)
	c.fleet()
	c.Eventually(c.condition(driverName, "Available"), soon).Should(Equal("True NodesReady"))
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("False RolledOut"))
	c.settle()
	writes := c.writes.Load()
	var before v1alpha1.ImageCSIDriver
	c.Expect(c.Get(c.ctx, client.ObjectKey{Name: driverName}, &before)).To(Succeed())

	for i := range 20 {
		node := &corev1.Node{}
		c.Expect(c.Get(c.ctx, client.ObjectKey{Name: "one"}, node)).To(Succeed())
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue,
			LastHeartbeatTime: metav1.NewTime(time.Unix(int64(i), 0))}}
		c.Expect(c.Status().Update(c.ctx, node)).To(Succeed())
	}
	time.Sleep(quiet)
	var after v1alpha1.ImageCSIDriver
	c.Expect(c.Get(c.ctx, client.ObjectKey{Name: driverName}, &after)).To(Succeed())
	c.Expect(after.ResourceVersion).To(Equal(before.ResourceVersion))
	c.Expect(c.writes.Load()).To(Equal(writes))

	// A change that matters but changes nothing costs a look, and no write either.
	c.touch("one")
	time.Sleep(quiet)
	c.Expect(c.writes.Load()).To(Equal(writes))
}

func TestAClassThatIsNoLongerDescribedKeepsItsDaemonSetWhileInUse(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.NodeClasses = []v1alpha1.NodeClass{{Name: "mine", Match: &v1alpha1.NodeMatch{Runtime: "containerd"},
			MountMode: contract.ModeNsenter, RuntimeEndpoint: "unix:///run/mine/c.sock"}}
	})
	c.Eventually(c.classOf("one"), soon).Should(Equal("mine"))
	c.Eventually(c.exists(c.daemonSet("mine")), soon).Should(BeTrue())
	pod := c.user("web", "one", driverName)

	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.NodeClasses = nil })
	c.Eventually(c.problems(driverName), soon).Should(Equal([]string{"one WaitingForVolumes"}))
	c.Consistently(c.exists(c.daemonSet("mine")), quiet).Should(BeTrue())

	c.endPod(pod)
	c.touch("one")
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.Eventually(c.exists(c.daemonSet("mine")), soon).Should(BeFalse())
}

func TestEventsTellTransitionsOnly(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.register("one", driverName)
	c.driver(driverName, impatient)
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("True RollingOut"))
	c.fleet()
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("False RolledOut"))
	driver := c.lookUp(driverName)
	for range 3 {
		c.touch("one")
		c.settle()
	}
	c.Eventually(func() map[string]int {
		var events eventsv1.EventList
		c.Expect(c.List(c.ctx, &events, client.InNamespace("default"))).To(Succeed())
		seen := map[string]int{}
		for _, event := range events.Items {
			if event.Regarding.UID != driver.UID {
				continue // A late one of another test.
			}
			seen[event.Type+" "+event.Reason]++
		}
		return seen
	}, soon).Should(Equal(map[string]int{"Normal NodesReady": 1, "Normal RollingOut": 1, "Normal RolledOut": 1}))
}

func TestANodePluginThatCannotStartIsToldInWords(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	pod := c.pod(namespace, "plugin", "one", corev1.VolumeSource{}, map[string]string{contract.DriverLabel: driverName})
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", Image: "example.com/gone:v9",
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "not found"}}}}
	c.Expect(c.Status().Update(c.ctx, pod)).To(Succeed())

	c.Eventually(c.problems(driverName), soon).Should(Equal([]string{"one ImagePullFailed"}))
	c.Expect(c.statusOf(driverName).Problems[0].Message).To(ContainSubstring("example.com/gone:v9"))
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("True NodePluginFailing"))

	c.endPod(pod)
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("False AsExpected"))
}

// touch changes a label of a node that means nothing.
func (c *cluster) touch(name string) {
	c.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.change(node, func() { node.Labels["example.com/touched"] = time.Now().Format("150405.000000000") })
}
