package controllers_test

import (
	"slices"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

var dedicated = corev1.Taint{Key: "dedicated", Value: "gpu", Effect: corev1.TaintEffectNoSchedule}

// startsTainted is a node as the administrator of a cluster has new nodes come.
func startsTainted(n *corev1.Node) {
	n.Spec.Taints = []corev1.Taint{
		{Key: contract.StartupTaint, Effect: corev1.TaintEffectNoExecute}, dedicated,
		{Key: contract.StartupTaint, Value: "yes", Effect: corev1.TaintEffectNoSchedule},
	}
}

// taints returns the keys of a node's taints; the API server adds one of its own to every new node.
func (c *cluster) taints(name string) func() []string {
	return func() []string {
		node, keys := &corev1.Node{}, []string{}
		c.Expect(c.Get(c.ctx, client.ObjectKey{Name: name}, node)).To(Succeed())
		for _, taint := range node.Spec.Taints {
			if taint.Key != corev1.TaintNodeNotReady {
				keys = append(keys, taint.Key)
			}
		}
		return keys
	}
}

func TestTheStartupTaintGoesWithTheLastDriversRegistration(t *testing.T) {
	c := newCluster(t)
	var mu sync.Mutex
	patches := 0
	c.beforePatch = func(object client.Object) {
		if _, is := object.(*corev1.Node); is {
			mu.Lock()
			defer mu.Unlock()
			patches++
		}
	}
	c.start()
	c.node("one", "containerd://2.1.4", startsTainted)
	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.Aliases = []v1alpha1.DriverName{"alias.example.com"} })
	c.driver("second.example.com")
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	for _, registered := range [][]string{{driverName}, {driverName, "alias.example.com"}, {driverName, "second.example.com"}} {
		c.register("one", registered...)
		c.settle()
		c.Expect(c.taints("one")()).To(HaveLen(3), "while a name is missing from %q", registered)
	}
	c.Expect(patches).To(Equal(1), "the label")

	c.register("one", driverName, "alias.example.com", "second.example.com")
	c.Eventually(c.taints("one"), soon).Should(Equal([]string{"dedicated"}))
	c.settle()
	c.Expect(patches).To(Equal(2), "the label, the taint")

	// Whoever puts it back on a node that serves has it taken away again.
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}}
	c.change(node, func() { startsTainted(node) })
	c.Eventually(c.taints("one"), soon).Should(Equal([]string{"dedicated"}))
}

// A node that is made again under its name finds the CSINode of the one before, until the garbage collector comes by.
func TestTheRegistrationOfAnEarlierNodeTakesNoTaintAway(t *testing.T) {
	c := newCluster(t).start()
	c.driver(driverName)
	c.node("one", "containerd://2.1.4", startsTainted)
	c.registerFor("the-node-before", "one", driverName)
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.settle()
	c.Expect(c.taints("one")()).To(HaveLen(3))
	c.Expect(c.problems(driverName)()).To(Equal([]string{"one NotRegistered"}))

	c.register("one", driverName)
	c.Eventually(c.taints("one"), soon).Should(Equal([]string{"dedicated"}))
	c.Eventually(c.condition(driverName, "Available"), soon).Should(Equal("True NodesReady"))
}

func TestATaintThatComesInBetweenIsNotLost(t *testing.T) {
	c := newCluster(t)
	var once sync.Once
	c.beforePatch = func(object client.Object) {
		if node, is := object.(*corev1.Node); !is || slices.ContainsFunc(node.Spec.Taints, placement.IsStartupTaint) {
			return
		}
		once.Do(func() {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}}
			c.change(node, func() {
				node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: "maintenance", Effect: corev1.TaintEffectNoExecute})
			})
		})
	}
	c.start()
	c.driver(driverName)
	c.node("one", "containerd://2.1.4", startsTainted)
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.register("one", driverName)
	c.Eventually(c.taints("one"), soon).Should(Equal([]string{"dedicated", "maintenance"}))
	c.Expect(c.condition(driverName, "Degraded")()).To(Equal("False AsExpected"))
}

func TestANodeThatNeverServesKeepsTheStartupTaintAndIsAProblem(t *testing.T) {
	c := newCluster(t).start()
	c.node("outside", "containerd://2.1.4", startsTainted)
	c.node("whale", "docker://28.1.1", startsTainted, func(n *corev1.Node) { n.Labels["pool"] = "images" })
	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.NodePlugin.NodeSelector = map[string]v1alpha1.LabelValue{"pool": "images"}
	})
	c.Eventually(c.problems(driverName), soon).Should(Equal([]string{"outside StartupTaintStays", "whale RuntimeUnsupported"}))
	for _, problem := range c.statusOf(driverName).Problems {
		c.Expect(problem.Message).To(ContainSubstring(contract.StartupTaint))
	}
	c.register("outside", driverName)
	c.register("whale", driverName)
	c.settle()
	c.Expect(c.taints("outside")()).To(HaveLen(3))
	c.Expect(c.taints("whale")()).To(HaveLen(3))
	c.Expect(c.statusOf(driverName).Problems).To(HaveLen(2))
}

func TestTheOperatorNeverAddsTheStartupTaint(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.settle()
	c.Expect(c.taints("one")()).To(BeEmpty())
}
