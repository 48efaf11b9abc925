package controllers_test

import (
	"testing"

	. "github.com/onsi/gomega"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// foreignDriver installs another CSI driver.
func (c *cluster) foreignDriver(name string, attach bool) *storagev1.CSIDriver {
	c.Helper()
	object := csiDriver(name)
	object.Spec = storagev1.CSIDriverSpec{AttachRequired: ptr.To(attach), VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{"Persistent", "Ephemeral"}}
	c.Expect(c.Create(c.ctx, object)).To(Succeed())
	return object
}

// ownerOf returns whose a CSIDriver object is, by its label.
func (c *cluster) ownerOf(name string) func() string {
	return func() string {
		found := csiDriver(name)
		if !c.exists(found)() {
			return "missing"
		}
		return found.Labels[contract.DriverLabel]
	}
}

func TestAForeignCSIDriverIsNeitherTakenOverNorDeleted(t *testing.T) {
	const name = "vendor.example.com"
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4", startsTainted)
	foreign := c.foreignDriver(name, true)
	c.driver(name)
	c.Eventually(c.condition(name, "Degraded"), soon).Should(Equal("True NameConflict"))
	c.Expect(meta.FindStatusCondition(c.statusOf(name).Conditions, "Degraded").Message).To(ContainSubstring("CSIDriver object " + name))
	c.Consistently(c.classOf("one"), quiet).Should(BeEmpty())

	c.driver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.Aliases = []v1alpha1.DriverName{"alias.example.com"} })
	c.Eventually(c.ownerOf("alias.example.com"), soon).Should(Equal(driverName))
	c.register("one", driverName, "alias.example.com")
	c.Eventually(c.taints("one"), soon).Should(Equal([]string{"dedicated"}), "a driver that is refused holds up no other")

	c.deleteDriver(name)
	c.Eventually(c.exists(&v1alpha1.ImageCSIDriver{ObjectMeta: csiDriver(name).ObjectMeta}), soon).Should(BeFalse())
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.Aliases = []v1alpha1.DriverName{name} })
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("True NameConflict"))
	before := foreign.ResourceVersion
	c.Expect(c.exists(foreign)()).To(BeTrue())
	c.Expect(foreign.ResourceVersion).To(Equal(before))

	c.Expect(c.Delete(c.ctx, foreign)).To(Succeed())
	c.Eventually(c.ownerOf(name), soon).Should(Equal(driverName))
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("False AsExpected"))
}

func TestTheCSIDriversOfTheLegacyDriverAreTakenOver(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.foreignDriver(contract.DefaultDriverName, false)
	c.foreignDriver(contract.LegacyEarlierDriverName, false)
	c.driver(contract.DefaultDriverName, func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.Aliases = []v1alpha1.DriverName{contract.LegacyEarlierDriverName}
	})
	for _, name := range []string{contract.DefaultDriverName, contract.LegacyEarlierDriverName} {
		c.Eventually(c.ownerOf(name), soon).Should(Equal(contract.DefaultDriverName))
	}
	c.Eventually(c.condition(driverName, "Degraded"), soon).Should(Equal("False AsExpected"))
}

func TestACSIDriverThatLostItsLabelGetsItBack(t *testing.T) {
	const name = "ours.example.com"
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.driver(name)
	c.Eventually(c.ownerOf(name), soon).Should(Equal(name))
	c.settle()
	object := csiDriver(name)
	c.change(object, func() { object.Labels = nil })
	c.Eventually(c.ownerOf(name), soon).Should(Equal(name))
	c.Expect(c.condition(name, "Degraded")()).To(Equal("False AsExpected"))
}
