package placement

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
)

func node(runtime, class string, labels map[string]string) *corev1.Node {
	n := &corev1.Node{}
	n.Name = "worker"
	n.Labels = map[string]string{"pool": "a"}
	for key, value := range labels {
		n.Labels[key] = value
	}
	if class != "" {
		n.Labels[contract.NodeClassLabel] = class
	}
	n.Status.NodeInfo.ContainerRuntimeVersion = runtime
	return n
}

func driver(name string, state v1alpha1.ManagementState, selector map[string]v1alpha1.LabelValue) v1alpha1.ImageCSIDriver {
	d := v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{contract.Finalizer}}}
	d.Spec.ManagementState = state
	d.Spec.NodePlugin.NodeSelector = selector
	return d
}

func TestWantedLabel(t *testing.T) {
	managed := driver("a", v1alpha1.Managed, nil)
	tests := map[string]struct {
		drivers []v1alpha1.ImageCSIDriver
		without string
		node    *corev1.Node
		want    Node
	}{
		"new node": {[]v1alpha1.ImageCSIDriver{managed}, "", node("containerd://2.1.4", "", nil),
			Node{Selected: true, Wanted: "containerd"}},
		"runtime changed": {[]v1alpha1.ImageCSIDriver{managed}, "", node("cri-o://1.36.0", "containerd", nil),
			Node{Selected: true, Current: "containerd", Wanted: "crio"}},
		"runtime became unsupported": {[]v1alpha1.ImageCSIDriver{managed}, "", node("docker://28.0", "containerd", nil),
			Node{Selected: true, Current: "containerd", Wanted: ""}},
		"runtime does not answer": {[]v1alpha1.ImageCSIDriver{managed}, "", node("containerd://Unknown", "containerd", nil),
			Node{Selected: true, Current: "containerd", Wanted: "containerd"}},
		"runtime does not answer, no class yet": {[]v1alpha1.ImageCSIDriver{managed}, "", node("containerd://Unknown", "", nil),
			Node{Selected: true}},
		"the only driver leaves while the runtime does not answer": {[]v1alpha1.ImageCSIDriver{driver("a", v1alpha1.Removed, nil)}, "a",
			node("containerd://Unknown", "containerd", nil), Node{Current: "containerd", Wanted: ""}},
		"fell out of the selection": {
			[]v1alpha1.ImageCSIDriver{driver("a", v1alpha1.Managed, map[string]v1alpha1.LabelValue{"pool": "b"})}, "",
			node("containerd://2.1.4", "containerd", nil), Node{Current: "containerd", Wanted: ""}},
		"the only driver leaves": {[]v1alpha1.ImageCSIDriver{driver("a", v1alpha1.Removed, nil)}, "a",
			node("containerd://2.1.4", "containerd", nil), Node{Current: "containerd", Wanted: ""}},
		"one of two drivers leaves": {[]v1alpha1.ImageCSIDriver{managed, driver("b", v1alpha1.Removed, nil)}, "b",
			node("containerd://2.1.4", "containerd", nil), Node{Selected: true, Current: "containerd", Wanted: "containerd"}},
		"an unmanaged driver stays": {[]v1alpha1.ImageCSIDriver{driver("a", v1alpha1.Removed, nil), driver("b", v1alpha1.Unmanaged, nil)}, "a",
			node("containerd://2.1.4", "containerd", nil), Node{Current: "containerd", Wanted: "containerd"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := PlanOf(conflicts.Cluster{Drivers: test.drivers}, test.without).Of(test.node)
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(Node{}, "Node", "RuntimeVersion", "Unsupported", "Unknown")); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}

func TestANodeWhoseRuntimeDoesNotAnswerStaysEligible(t *testing.T) {
	all := driver("a", v1alpha1.Managed, nil)
	if got := ByDriver(&all, false).Of(node("containerd://Unknown", "containerd", nil)); got.Unknown == nil || !got.Eligible() {
		t.Errorf("%+v: want eligible, and told as unknown", got)
	}
	if got := ByDriver(&all, false).Of(node("containerd://Unknown", "", nil)); got.Unknown != nil || got.Eligible() {
		t.Errorf("%+v has no class to keep, and is eligible", got)
	}
}

func TestUnsupportedIsCountedOnlyWhenSelected(t *testing.T) {
	windows := node("docker://28.0", "", nil)
	all := driver("a", v1alpha1.Managed, nil)
	if got := ByDriver(&all, false).Of(windows); got.Unsupported == nil || got.Eligible() {
		t.Errorf("%+v is not unsupported", got)
	}
	some := driver("a", v1alpha1.Managed, map[string]v1alpha1.LabelValue{"pool": "b"})
	if got := ByDriver(&some, false).Of(windows); got.Unsupported != nil || got.Selected {
		t.Errorf("%+v is selected", got)
	}
}
