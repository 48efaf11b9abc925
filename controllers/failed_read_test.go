package controllers_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// forbidden refuses the requests of a kind whose path ends in some way.
func forbidden(method, path string) fault {
	return only(func(r *http.Request) bool { return r.Method == method && strings.HasSuffix(r.URL.Path, path) },
		always(http.StatusForbidden, metav1.StatusReasonForbidden, ""))
}

// progress is what a driver's status says of what is under way.
func (c *cluster) progress() (metav1.Condition, *v1alpha1.RolloutStatus) {
	status := c.statusOf(driverName)
	return *meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionProgressing), status.Rollout
}

func TestALookThatFailsEndsNoRollout(t *testing.T) {
	c := newCluster(t).start()
	f := served(c, 2)
	f.Wait("v2", "ContainerCreating", "")
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.NodePlugin.Image, d.Spec.Rollout.ProgressDeadlineSeconds = "v2", nil
	})
	c.Eventually(c.condition(driverName, "Progressing"), rolledOut).Should(Equal("True RollingOut"))
	c.Eventually(f.images, rolledOut).Should(ContainElement("v2"))
	c.settle()
	condition, rollout := c.progress()

	c.faults.turn(forbidden(http.MethodPatch, "/imagecsidrivers/"+driverName))
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Finalizers = nil })
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("True ApplyFailed"))
	stillCondition, stillRollout := c.progress()
	c.Expect(stillCondition).To(Equal(condition))
	c.Expect(stillRollout).To(Equal(rollout))

	c.faults.turn(nil)
	f.Wait("v2", "", "")
	c.Eventually(c.condition(driverName, "Progressing"), calm).Should(Equal("False RolledOut"))
}

func TestALookThatFailsEndsNoRemoval(t *testing.T) {
	c := newCluster(t)
	stop := c.operate()
	c.node("one", "containerd://2.1.4")
	c.node("two", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	c.user("web", "one", driverName)
	c.changeDriver(driverName, state(v1alpha1.Removed))
	c.Eventually(c.condition(driverName, "Progressing"), soon).Should(Equal("True WaitingForVolumes"))
	c.Eventually(c.counts(driverName), soon).Should(HaveField("Eligible", BeEquivalentTo(1)))
	condition, _ := c.progress()
	stop()

	c.faults.turn(forbidden(http.MethodGet, "/persistentvolumes"))
	c.start()
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("True ApplyFailed"))
	still, _ := c.progress()
	c.Expect(still).To(Equal(condition))
	c.Expect(c.counts(driverName)().Eligible).To(BeEquivalentTo(1), "the driver has left the other node")
}

func TestWhatFailsOnManyNodesIsToldOnce(t *testing.T) {
	c := newCluster(t)
	for i := range 12 {
		c.node(fmt.Sprintf("n%02d", i), "containerd://2.1.4")
	}
	c.faults.turn(only(func(r *http.Request) bool { return isWrite(r) && strings.Contains(r.URL.Path, "/nodes/") },
		always(http.StatusForbidden, metav1.StatusReasonForbidden, "")))
	c.start()
	c.driver(driverName)
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("True ApplyFailed"))
	c.Consistently(func() string { return c.lookUp(driverName).ResourceVersion }, 2*quiet).Should(Equal(c.lookUp(driverName).ResourceVersion))
}
