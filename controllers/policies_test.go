package controllers_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// imagesBinding is the binding of the policy for images, which stands as config/admission has it again when the test ends.
func (c *cluster) imagesBinding() *admissionv1.ValidatingAdmissionPolicyBinding {
	c.Helper()
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{}
	c.Expect(c.Get(c.ctx, client.ObjectKey{Name: status.ImagesPolicy}, binding)).To(Succeed())
	binding.ResourceVersion, binding.UID = "", ""
	c.Cleanup(func() {
		_ = c.Delete(context.Background(), binding.DeepCopy())
		c.Expect(c.Create(context.Background(), binding.DeepCopy())).To(Succeed())
	})
	return binding
}

func TestAPolicyThatIsNotInEffectIsReported(t *testing.T) {
	c := newCluster(t).start()
	c.node("one", "containerd://2.1.4")
	c.Expect(c.create(driverName, "spec: {security: {imagePinning: Digest}}")).To(Succeed())
	c.Expect(c.create("free.example.com", "spec: {}")).To(Succeed())
	degraded := c.condition(driverName, "Degraded")
	c.Eventually(degraded, soon).Should(Equal("False AsExpected"))

	binding := c.imagesBinding()
	c.Expect(c.Delete(c.ctx, binding.DeepCopy())).To(Succeed())
	c.Eventually(degraded, soon).Should(Equal("True PolicyNotInEffect"))
	c.Expect(c.Create(c.ctx, binding.DeepCopy())).To(Succeed())
	c.Eventually(degraded, soon).Should(Equal("False AsExpected"))

	// It becomes another's: the change is one of a binding that was the policy's.
	for _, change := range []string{`{"spec": {"validationActions": ["Audit"]}}`, `{"spec": {"validationActions": ["Deny"], "policyName": "another"}}`} {
		c.Expect(c.Patch(c.ctx, binding.DeepCopy(), mergePatch(change))).To(Succeed())
		c.Eventually(degraded, soon).Should(Equal("True PolicyNotInEffect"), change)
		c.Expect(c.Patch(c.ctx, binding.DeepCopy(), mergePatch(`{"spec": {"validationActions": ["Deny"], "policyName": "`+status.ImagesPolicy+`"}}`))).To(Succeed())
		c.Eventually(degraded, soon).Should(Equal("False AsExpected"), change)
	}

	c.Expect(c.Delete(c.ctx, binding.DeepCopy())).To(Succeed())
	c.Eventually(degraded, soon).Should(Equal("True PolicyNotInEffect"))
	c.Expect(c.condition("free.example.com", "Degraded")()).To(Equal("False AsExpected"), "a driver without rules")
	c.changeDriver(driverName, func(d *v1alpha1.ImageCSIDriver) { d.Spec.Security.ImagePinning = v1alpha1.PinningOptional })
	c.Eventually(degraded, soon).Should(Equal("False AsExpected"))
}

// A list that is refused is no proof that nothing is there, and takes nothing else from the driver.
func TestPoliciesThatCannotBeListedAreNotMissing(t *testing.T) {
	c := newCluster(t)
	c.Expect(c.Delete(c.ctx, c.imagesBinding())).To(Succeed())
	c.faults.set(only(func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/validatingadmissionpolic")
	}, always(http.StatusForbidden, metav1.StatusReasonForbidden, "")))
	c.start()
	c.node("one", "containerd://2.1.4")
	c.Expect(c.create(driverName, "spec: {security: {allowedImages: [docker.io/]}}")).To(Succeed())
	degraded := c.condition(driverName, "Degraded")
	c.Eventually(degraded, soon).Should(Equal("False AsExpected"))
	c.Eventually(c.classOf("one"), soon).Should(Equal("containerd"))
	c.Consistently(degraded, 2*time.Second).Should(Equal("False AsExpected"))
	c.faults.set(nil)
	c.Eventually(degraded, soon).Should(Equal("True PolicyNotInEffect"))
}
