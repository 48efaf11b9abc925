package controllers_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// label plays a hand that gives a node a class, or takes its class away.
func (c *cluster) label(node, class string) {
	c.Helper()
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	c.change(object, func() {
		if object.Labels[contract.NodeClassLabel] = class; class == "" {
			delete(object.Labels, contract.NodeClassLabel)
		}
	})
}

// The DaemonSet controller follows the label at once, so that nothing is left to wait for.
func TestAClassThatAHandChangedIsPutBackUnderAPodWithAVolume(t *testing.T) {
	for name, by := range map[string]string{"another class": "crio", "no class": ""} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t).start()
			c.node("one", "containerd://2.1.4")
			c.driver(driverName)
			c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
			c.user("web", "one", driverName)
			c.label("one", by)
			c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
			c.Eventually(c.counts(driverName), soon).Should(HaveField("Waiting", BeZero()))

			c.runtime("one", "cri-o://1.36.3") // The label is the operator's again, and a node plugin is there.
			c.Eventually(c.problems(driverName), soon).Should(Equal([]string{"one WaitingForVolumes"}))
			c.Consistently(c.classOf("one"), quiet).Should(Equal("containerd"))

			c.label("one", "bottlerocket")
			c.Eventually(c.classOf("one"), soon).Should(Equal("crio"))
		})
	}
}

func TestAClassThatAHandChangedIsPutBackWhileARemovalWaits(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	c.user("web", "one", driverName)
	c.changeDriver(driverName, state(v1alpha1.Removed))
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("True WaitingForVolumes"))

	c.label("one", "crio")
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.Expect(c.exists(c.daemonSet("containerd"))()).To(BeTrue())

	c.runtime("one", "cri-o://1.36.3")
	c.Consistently(c.classOf("one"), quiet).Should(Equal("containerd"))
}
