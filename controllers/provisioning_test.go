package controllers_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// claim makes a PersistentVolumeClaim for a class as its owner does, and marks it for its provisioner as Kubernetes'
// own controller does.
func (c *cluster) claim(name, class, provisioner, image string, modes ...corev1.PersistentVolumeAccessMode) *corev1.PersistentVolumeClaim {
	c.Helper()
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Annotations: map[string]string{
			"csi.storage.k8s.io/image": image, "volume.kubernetes.io/storage-provisioner": provisioner}},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, AccessModes: modes, Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}},
	}
	c.Expect(c.Create(c.ctx, claim)).To(Succeed())
	return claim
}

func (c *cluster) storageClass(name, provisioner string, binding ...storagev1.VolumeBindingMode) {
	c.Helper()
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner,
		ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete), VolumeBindingMode: ptr.To(storagev1.VolumeBindingImmediate)}
	for i := range binding {
		class.VolumeBindingMode = &binding[i]
	}
	c.Expect(c.Create(c.ctx, class)).To(Succeed())
}

func (c *cluster) volumeOf(claim *corev1.PersistentVolumeClaim) (*corev1.PersistentVolume, error) {
	volume := &corev1.PersistentVolume{}
	return volume, c.Get(c.ctx, client.ObjectKey{Name: "pvc-" + string(claim.UID)}, volume)
}

func TestAClaimOfAStorageClassGetsAVolumeThatGoesWithIt(t *testing.T) {
	c := newCluster(t).start()
	c.Expect(c.create("image.example.com", "spec: {aliases: [alias.example.com]}")).To(Succeed())
	early := c.claim("early", "images", "image.example.com", "registry.example/team/data:1", corev1.ReadOnlyMany)
	c.storageClass("images", "image.example.com")
	c.storageClass("alias-images", "alias.example.com")
	c.storageClass("others", "other.example.com")
	alias := c.claim("alias", "alias-images", "alias.example.com", "busybox", corev1.ReadOnlyMany)
	second := c.claim("second", "images", "image.example.com", "registry.example/team/data:1", corev1.ReadOnlyMany)
	foreign := c.claim("foreign", "others", "other.example.com", "busybox", corev1.ReadOnlyMany)
	writable := c.claim("writable", "images", "image.example.com", "busybox", corev1.ReadWriteOnce)

	for driver, claims := range map[string][]*corev1.PersistentVolumeClaim{"image.example.com": {early, second}, "alias.example.com": {alias}} {
		for _, claim := range claims {
			c.Eventually(func(g Gomega) {
				volume, err := c.volumeOf(claim)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(volume.Spec.CSI.Driver).To(Equal(driver))
				g.Expect(volume.Spec.CSI.VolumeHandle).To(Equal(volume.Name), "handles are unique")
				g.Expect(volume.Spec.CSI.VolumeAttributes).To(HaveKeyWithValue("image", claim.Annotations["csi.storage.k8s.io/image"]))
				g.Expect(volume.Spec.ClaimRef.UID).To(Equal(claim.UID))
				g.Expect(volume.Spec.AccessModes).To(ConsistOf(corev1.ReadOnlyMany))
			}, "20s", "100ms").Should(Succeed(), claim.Name)
		}
	}
	c.Eventually(func(g Gomega) {
		var events corev1.EventList
		g.Expect(c.List(c.ctx, &events, client.InNamespace("default"))).To(Succeed())
		g.Expect(events.Items).To(ContainElement(And(
			HaveField("InvolvedObject.Name", "writable"), HaveField("Message", ContainSubstring("an image can be ReadOnlyMany only")))))
	}, "20s", "100ms").Should(Succeed())
	for _, claim := range []*corev1.PersistentVolumeClaim{foreign, writable} {
		_, err := c.volumeOf(claim)
		c.Expect(apierrors.IsNotFound(err)).To(BeTrue(), claim.Name)
	}

	// The claim goes, Kubernetes' own controller releases the volume, and nobody's class is needed to remove it.
	c.Expect(c.Delete(c.ctx, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "images"}})).To(Succeed())
	volume, err := c.volumeOf(early)
	c.Expect(err).NotTo(HaveOccurred())
	volume.Status.Phase = corev1.VolumeReleased
	c.Expect(c.Status().Update(c.ctx, volume)).To(Succeed())
	c.Eventually(func() bool {
		volume, err := c.volumeOf(early)
		return apierrors.IsNotFound(err) || err == nil && !volume.DeletionTimestamp.IsZero()
	}, "20s", "100ms").Should(BeTrue())
	if volume, err := c.volumeOf(second); err != nil || !volume.DeletionTimestamp.IsZero() {
		t.Errorf("another claim's volume: %v, %v", volume, err)
	}
}

// The scheduler names the node of the first pod that uses the claim. An image is to be had on every node, so its volume is not
// bound to that one.
func TestAClaimThatWaitsForItsFirstPodGetsAVolumeForEveryNode(t *testing.T) {
	c := newCluster(t).start()
	c.Expect(c.create("image.example.com", "spec: {}")).To(Succeed())
	c.node("first", "containerd://2.1.4")
	c.storageClass("waiting", "image.example.com", storagev1.VolumeBindingWaitForFirstConsumer)
	c.storageClass("images", "image.example.com")
	claim := c.claim("waits", "waiting", "image.example.com", "busybox", corev1.ReadOnlyMany)
	at := c.claim("at-once", "images", "image.example.com", "busybox", corev1.ReadOnlyMany)
	provisioned := func(claim *corev1.PersistentVolumeClaim) func() error {
		return func() error {
			_, err := c.volumeOf(claim)
			return err
		}
	}
	c.Eventually(provisioned(at), "20s", "100ms").Should(Succeed(), "claims are looked at")
	c.Consistently(provisioned(claim), quiet).ShouldNot(Succeed(), "before it has a pod")

	c.change(claim, func() { claim.Annotations["volume.kubernetes.io/selected-node"] = "first" })
	c.Eventually(provisioned(claim), "20s", "100ms").Should(Succeed())
	volume, err := c.volumeOf(claim)
	c.Expect(err).NotTo(HaveOccurred())
	c.Expect(volume.Spec.NodeAffinity).To(BeNil())
	c.Expect(volume.Spec.ClaimRef.UID).To(Equal(claim.UID))
}
