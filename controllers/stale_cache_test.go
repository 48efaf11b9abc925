package controllers_test

import (
	"fmt"
	"net/http"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// cachedResources are those that the operator's cache holds.
func cachedResources() []string {
	return []string{"nodes", "csinodes", "imagecsidrivers", "pods", "daemonsets", "csidrivers", "serviceaccounts"}
}

// resting is a cluster of two classes in which a driver serves and has nothing to do, with no operator.
func resting(t *testing.T) *fleet {
	c := newCluster(t)
	stop := c.operate()
	for node, runtime := range map[string]string{"n0": "containerd://2.1.4", "n1": "containerd://2.1.4", "other": "cri-o://1.36.3"} {
		c.node(node, runtime)
		c.register(node, driverName)
	}
	c.driver(driverName, impatient)
	f := c.fleet()
	c.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseComplete))
	c.Eventually(c.condition(driverName, "Available"), soon).Should(Equal("True NodesReady"))
	c.settle()
	stop()
	c.Expect(c.faults.takenAway()).To(BeEmpty())
	return f
}

// undisturbed says what of a resting cluster is not to change while the operator cannot see.
func (f *fleet) undisturbed() string {
	classes := ""
	for _, node := range []string{"n0", "n1", "other"} {
		classes += f.classOf(node)() + " "
	}
	for _, class := range []string{"containerd", "crio"} {
		classes += fmt.Sprint(f.exists(f.daemonSet(class))(), f.exists(csiDriver(driverName))())
	}
	return fmt.Sprint(classes, f.uids(), f.faults.takenAway())
}

func TestAnOperatorThatCannotReadDoesNothingAndSaysNothing(t *testing.T) {
	f := resting(t)
	before, status := f.undisturbed(), f.statusOf(driverName)
	for _, resource := range cachedResources() {
		f.Log(resource)
		f.faults.set(reading(resource, always(http.StatusForbidden, metav1.StatusReasonForbidden, "")))
		writes := f.writes.Load()
		stop := f.operate()
		f.Consistently(f.undisturbed, quiet).Should(Equal(before), resource)
		f.Expect(f.statusOf(driverName)).To(Equal(status), resource)
		f.Expect(f.writes.Load()).To(Equal(writes), resource)
		stop()
	}
}

func TestAnOperatorThatSeesNothingTakesNothingAway(t *testing.T) {
	f := resting(t)
	before := f.undisturbed()
	for _, resource := range cachedResources() {
		f.Log(resource)
		f.faults.set(reading(resource, selecting("labelSelector", "example.com/none")))
		stop := f.operate()
		f.Consistently(f.undisturbed, quiet).Should(Equal(before), resource)
		stop()
	}
	f.faults.set(nil)
	f.start()
	f.Eventually(f.condition(driverName, "Available"), soon).Should(Equal("True NodesReady"))
	f.Eventually(f.condition(driverName, "Degraded"), soon).Should(Equal("False AsExpected"))
	f.Expect(f.undisturbed()).To(Equal(before))
}

func TestARemovalWaitsForNodePluginsThatTheCacheLacks(t *testing.T) {
	f := resting(t)
	f.faults.set(func(r *http.Request, over <-chan struct{}) (*http.Response, error) {
		none := selecting("labelSelector", "example.com/none")
		for _, resource := range []string{"pods", "daemonsets"} {
			if answer, err := reading(resource, none)(r, over); answer != nil || err != nil {
				return answer, err
			}
		}
		return nil, nil
	})
	f.changeDriver(driverName, state(v1alpha1.Removed))
	stop := f.operate()
	f.Eventually(f.condition(driverName, "Progressing"), soon).Should(Equal("True StoppingPlugins"))
	f.Consistently(f.exists(csiDriver(driverName)), quiet).Should(BeTrue())
	f.Expect(f.classOf("n0")()).To(Equal("containerd"))
	stop()

	f.faults.set(nil)
	f.start()
	f.Eventually(f.condition(driverName, "Progressing"), rolledOut).Should(Equal("False Removed"))
	f.Expect(f.exists(f.daemonSet("containerd"))()).To(BeFalse())
	f.Expect(f.classOf("n0")()).To(BeEmpty())
}

func TestALabelStaysForADriverThatIsNotSeen(t *testing.T) {
	f := resting(t)
	stop := f.operate()
	f.driver("second.example.com")
	f.Eventually(f.exists(csiDriver("second.example.com")), soon).Should(BeTrue())
	f.settle()
	stop()

	f.faults.set(reading("imagecsidrivers", selecting("fieldSelector", "metadata.name="+driverName)))
	f.changeDriver(driverName, state(v1alpha1.Removed))
	stop = f.operate()
	f.Eventually(f.condition(driverName, "Progressing"), rolledOut).Should(Equal("False Removed"))
	f.Expect(f.classOf("n0")()).To(Equal("containerd"))
	stop()
}
