package controllers_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

const (
	// storm is how long a fault lasts: long enough for all that waits to have waited in vain.
	storm = 1500 * time.Millisecond
	// calm is within what time after it all is as it should be. The API server is asked again after half a minute at most.
	calm = 35 * time.Second
)

func TestWhateverTheAPIServerDoesTheOperatorConverges(t *testing.T) {
	c := newCluster(t)
	stop := c.operate()
	for node, runtime := range map[string]string{"n0": "containerd://2.1.4", "turns": "containerd://2.1.4", "other": "cri-o://1.36.3", "old-0": "containerd://2.1.4"} {
		c.node(node, runtime)
		c.register(node, driverName)
	}
	c.driver(driverName, impatient, func(d *v1alpha1.ImageCSIDriver) { d.Spec.Rollout.ProgressDeadlineSeconds = ptr.To[int32](300) })
	f := c.fleet()
	c.Eventually(f.phase, rolledOut).Should(Equal(v1alpha1.PhaseComplete))
	for i, fault := range []struct {
		name string
		is   fault
	}{
		{"no fault", nil},
		{"429", always(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "1")},
		{"500", always(http.StatusInternalServerError, metav1.StatusReasonInternalError, "")},
		{"503", always(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "1")},
		{"every other write conflicts", only(isWrite, everyOther(always(http.StatusConflict, metav1.StatusReasonConflict, "")))},
		{"every write conflicts", only(isWrite, always(http.StatusConflict, metav1.StatusReasonConflict, ""))},
		{"no watch", only(isWatch, refused)},
		{"watches of what is forgotten", only(old, always(http.StatusGone, metav1.StatusReasonExpired, ""))},
		{"every connection is refused", refused},
		{"every request hangs", hangs},
	} {
		c.Log(fault.name)
		stop()
		stop = c.operate() // What has met many faults waits long before it asks again.
		c.settle()
		image, runtime, class := fmt.Sprintf("v%d", i), "cri-o://1.36.3", "crio"
		if i%2 == 1 {
			runtime, class = "containerd://2.1.4", "containerd"
		}
		added := fmt.Sprintf("old-%d", i+1)
		c.faults.set(fault.is)
		c.node(added, "containerd://2.1.4")
		c.register(added, driverName)
		c.runtime("turns", runtime)
		c.leave(fmt.Sprintf("old-%d", i))
		c.handEdit()
		f.update(image, v1alpha1.RolloutActive)
		time.Sleep(storm)
		c.faults.set(nil)

		c.Eventually(c.classOf("turns"), calm).Should(Equal(class), fault.name)
		c.Eventually(c.classOf(added), calm).Should(Equal("containerd"), fault.name)
		c.Eventually(f.images, calm).Should(Equal([]string{image, image, image, image}), fault.name)
		c.Eventually(f.phase, calm).Should(Equal(v1alpha1.PhaseComplete), fault.name)
		c.Eventually(c.counts(driverName), calm).Should(Equal(v1alpha1.NodeCounts{Summary: "4/4", Total: 4, Eligible: 4, Ready: 4}), fault.name)
		c.Eventually(c.condition(driverName, "Available"), calm).Should(Equal("True NodesReady"), fault.name)
		c.Eventually(c.condition(driverName, "Degraded"), calm).Should(Equal("False AsExpected"), fault.name)
		c.expectMended(fault.name)
		c.Expect(c.faults.takenAway()).To(BeEmpty(), fault.name)
	}
}

// leave plays a node that goes for good.
func (c *cluster) leave(name string) {
	c.Helper()
	for _, object := range []client.Object{&corev1.Node{}, &storagev1.CSINode{}} {
		object.SetName(name)
		c.Expect(c.Delete(c.ctx, object)).To(Succeed())
	}
}

// handEdit changes and deletes what the operator owns.
func (c *cluster) handEdit() {
	c.Helper()
	driver := csiDriver(driverName)
	c.change(driver, func() { driver.Labels[contract.DriverLabel] = "somebody-elses" })
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: c.accountName()}}
	c.Expect(c.Delete(c.ctx, account)).To(Succeed())
}

func (c *cluster) expectMended(when string) {
	c.Helper()
	c.Eventually(func() string {
		driver := csiDriver(driverName)
		c.exists(driver)()
		return driver.Labels[contract.DriverLabel]
	}, calm).Should(Equal(driverName), when)
	c.Eventually(c.exists(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: c.accountName()}}), calm).Should(BeTrue(), when)
}

func (c *cluster) accountName() string {
	daemonSet := c.daemonSet("containerd")
	c.Expect(c.exists(daemonSet)()).To(BeTrue())
	return daemonSet.Spec.Template.Spec.ServiceAccountName
}

func TestARequestThatIsNeverAnsweredHoldsUpNothing(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.settle()
	var met atomic.Bool
	c.faults.set(only(func(r *http.Request) bool { return isWrite(r) && met.CompareAndSwap(false, true) }, never))
	c.node("two", "containerd://2.1.4")
	c.Eventually(c.classOf("two"), calm).Should(Equal("containerd"))
	c.Expect(met.Load()).To(BeTrue())
}

func TestAConflictThatStaysIsTold(t *testing.T) {
	c := newCluster(t)
	c.faults.set(only(func(r *http.Request) bool { return isWrite(r) && strings.Contains(r.URL.Path, "/daemonsets/") },
		always(http.StatusConflict, metav1.StatusReasonConflict, "")))
	c.start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("True ApplyFailed"))
	c.faults.set(nil)
	c.Eventually(c.condition(driverName, "Degraded"), calm).Should(Equal("False AsExpected"))
}

// The watches stay open here: nothing but the operator's own trying again leads to the end.
func TestAWriteThatFailedIsTriedAgainWithoutAnEvent(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.settle()
	c.faults.turn(only(isWrite, always(http.StatusInternalServerError, metav1.StatusReasonInternalError, "")))
	c.node("two", "containerd://2.1.4")
	c.Consistently(c.classOf("two"), quiet).Should(BeEmpty())
	c.faults.turn(nil)
	c.Eventually(c.classOf("two"), calm).Should(Equal("containerd"))
}
