package controllers_test

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// What an administrator refuses in images stays refused, unless one with the verb escalate takes it back.
func TestToRefuseLessInImagesNeedsEscalate(t *testing.T) {
	c := newCluster(t)
	editor, master := c.editor("content-editor", false), c.editor("content-master", true)
	const name = "content.example.com"
	c.Expect(c.create(name, "spec: {security: {refusedContent: [DeviceNodes, FileCapabilities]}}")).To(Succeed())
	patch := func(who client.Client, text string) error {
		return who.Patch(c.ctx, &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}}, mergePatch(text), client.DryRunAll)
	}
	for _, text := range []string{
		`{"spec": {"security": {"refusedContent": ["DeviceNodes"]}}}`, `{"spec": {"security": {"refusedContent": ["SetIDFiles", "FileCapabilities"]}}}`,
		`{"spec": {"security": {"refusedContent": []}}}`, `{"spec": {"security": null}}`, `{"spec": null}`,
	} {
		c.refuses("to take a kind out of spec.security.refusedContent", func() error { return patch(editor, text) })
		c.Eventually(func() error { return patch(master, text) }, soon).Should(Succeed(), text)
	}
	for _, text := range []string{
		`{"spec": {"security": {"refusedContent": ["FileCapabilities", "SetIDFiles", "DeviceNodes"]}}}`, `{"spec": {"nodePlugin": {"logLevel": "Debug"}}}`,
	} {
		c.Expect(patch(editor, text)).To(Succeed(), text)
	}
}
