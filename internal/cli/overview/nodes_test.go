package overview

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// TestANodeThatDoesNotReportIsNotReady although its CSINode still has the driver.
func TestANodeThatDoesNotReportIsNotReady(t *testing.T) {
	for status, want := range map[corev1.ConditionStatus]document.NodeReadiness{
		corev1.ConditionTrue: document.NodeReady, corev1.ConditionFalse: document.NodeNotReady, corev1.ConditionUnknown: document.NodeNotReady,
	} {
		nodes := Nodes(seen.Cluster{
			Drivers: []v1alpha1.ImageCSIDriver{{ObjectMeta: metav1.ObjectMeta{Name: "a.example"}}},
			Nodes: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{
				NodeInfo:   corev1.NodeSystemInfo{ContainerRuntimeVersion: "containerd://2.2.1", OperatingSystem: "linux"},
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}},
			}}},
			CSINodes: []storagev1.CSINode{{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: "a.example"}}}}},
		}, NodeFilter{}).Items
		if got := nodes[0].Drivers[0]; got.Readiness != want || (got.Reason == document.NodeDown) != (want == document.NodeNotReady) || nodes[0].HasProblem() != (want == document.NodeNotReady) {
			t.Errorf("Ready is %s: %+v, want %s", status, got, want)
		}
	}
}
