package controllers_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// podLists counts how often the operator asks for pods of the cluster from now on.
func (c *cluster) podLists() *atomic.Int64 {
	lists := &atomic.Int64{}
	c.faults.turn(func(r *http.Request, _ <-chan struct{}) (*http.Response, error) {
		if r.Method == http.MethodGet && r.URL.Path == "/api/v1/pods" && !isWatch(r) {
			lists.Add(1)
		}
		return nil, nil
	})
	return lists
}

func TestWhileSomethingWaitsForVolumesThePodsAreListedOnceInAWhile(t *testing.T) {
	alias := func(aliases ...v1alpha1.DriverName) func(*v1alpha1.ImageCSIDriver) {
		return func(d *v1alpha1.ImageCSIDriver) { d.Spec.Aliases = aliases }
	}
	for name, wait := range map[string]func(*cluster){
		"a removal":       func(c *cluster) { c.changeDriver(driverName, state(v1alpha1.Removed)) },
		"a node's class":  func(c *cluster) { c.runtime("one", "cri-o://1.36.3") },
		"a dropped alias": func(c *cluster) { c.changeDriver(driverName, alias()) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.recheck = 6 * time.Second
			c.start()
			c.node("one", "containerd://2.1.4")
			c.node("two", "containerd://2.1.4")
			c.driver(driverName, alias("alias.example.com"))
			c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
			c.Eventually(c.exists(csiDriver("alias.example.com")), soon).Should(BeTrue())
			pod := c.user("web", "one", "alias.example.com")
			lists := c.podLists()
			wait(c)
			c.Eventually(c.problems(driverName), soon).Should(ContainElement("one WaitingForVolumes"))
			for range 10 {
				c.touch("two")
				time.Sleep(100 * time.Millisecond)
			}
			c.Expect(lists.Load()).To(BeEquivalentTo(1))

			c.endPod(pod)
			c.Eventually(c.problems(driverName), soon).ShouldNot(ContainElement("one WaitingForVolumes"), "without being touched")
			c.Expect(lists.Load()).To(BeNumerically("<=", 3))
		})
	}
}

func TestWhatWasFreeAShortWhileAgoMayNotBeNow(t *testing.T) {
	c := newCluster(t)
	c.recheck = time.Hour
	c.start()
	c.node("one", "containerd://2.1.4")
	c.node("two", "containerd://2.1.4")
	c.driver(driverName)
	c.Eventually(c.exists(c.daemonSet("containerd")), soon).Should(BeTrue())
	c.user("web", "one", driverName)
	c.changeDriver(driverName, state(v1alpha1.Removed))
	c.Eventually(c.classOf("two"), soon).Should(BeEmpty())
	c.settle()

	c.user("late", "two", driverName)
	c.label("two", "containerd")
	c.Consistently(c.classOf("two"), quiet).Should(Equal("containerd"))
}
