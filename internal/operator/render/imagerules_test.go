package render

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
)

// A rule must be in effect within the kubelet's minute, whatever becomes of rollouts.
func TestAChangeOfTheRulesForImagesReplacesNoNodePlugin(t *testing.T) {
	objects := func(rules v1alpha1.Security) (*corev1.ConfigMap, *appsv1.DaemonSet) {
		t.Helper()
		driver := minimal()
		driver.Spec.Security = rules
		var configMap *corev1.ConfigMap
		var daemonSet *appsv1.DaemonSet
		for _, object := range Render(Input{Driver: driver, Names: Names(driver), Classes: []nodeclass.Class{class(t, nodeclass.Containerd)}, Settings: settings}).Apply {
			switch object := object.(type) {
			case *corev1.ConfigMap:
				configMap = object
			case *appsv1.DaemonSet:
				daemonSet = object
			}
		}
		return configMap, daemonSet
	}
	none, before := objects(v1alpha1.Security{})
	if text := none.Data[contract.ImageRulesKey]; text != "{}" {
		t.Errorf("without rules: %q", text)
	}
	some, after := objects(v1alpha1.Security{AllowedImages: []v1alpha1.AllowedImage{"docker.io/", "registry.example/a"}, ImagePinning: v1alpha1.PinningDigest})
	if text := some.Data[contract.ImageRulesKey]; text != `{"allowedImages":["docker.io/","registry.example/a"],"imagePinning":"Digest"}` {
		t.Errorf("with rules: %q", text)
	}
	content, _ := objects(v1alpha1.Security{RefusedContent: []v1alpha1.ImageContent{v1alpha1.DeviceNodes, v1alpha1.SetIDFiles}})
	if text := content.Data[contract.ImageRulesKey]; text != `{"refusedContent":["DeviceNodes","SetIDFiles"]}` {
		t.Errorf("with rules for content: %q", text)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the DaemonSet changes (-before +after):\n%s", diff)
	}
}
