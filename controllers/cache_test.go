package controllers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

func fatNode() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "worker", UID: "u", ResourceVersion: "7", Labels: map[string]string{"pool": "a"},
			CreationTimestamp: metav1.Unix(1000, 0),
			Annotations:       map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
			ManagedFields:     []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
		},
		Spec: corev1.NodeSpec{PodCIDR: "10.0.0.0/24", ProviderID: "x", Taints: []corev1.Taint{
			{Key: "dedicated", Effect: corev1.TaintEffectNoSchedule}, {Key: "imagecsi.dev/driver-not-ready", Effect: corev1.TaintEffectNoExecute}}},
		Status: corev1.NodeStatus{
			Capacity: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Unix(3000, 0), LastTransitionTime: metav1.Unix(2000, 0), Message: "kubelet is posting ready status"}},
			Images:   []corev1.ContainerImage{{Names: []string{"example.com/big"}}},
			NodeInfo: corev1.NodeSystemInfo{ContainerRuntimeVersion: "containerd://2.1.4", OSImage: "Debian", MachineID: "m", BootID: "b"},
		},
	}
}

func TestTheCacheKeepsOfANodeOnlyWhatIsRead(t *testing.T) {
	got, err := trimNode(fatNode())
	want := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "u", ResourceVersion: "7", Labels: map[string]string{"pool": "a"}, CreationTimestamp: metav1.Unix(1000, 0)},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "imagecsi.dev/driver-not-ready", Effect: corev1.TaintEffectNoExecute}}},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(2000, 0)}},
			NodeInfo:   corev1.NodeSystemInfo{ContainerRuntimeVersion: "containerd://2.1.4", OSImage: "Debian"},
		},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, node (-want +got):\n%s", err, diff)
	}
}

func TestTheCacheKeepsOfACSINodeTheNamesAndItsNode(t *testing.T) {
	full := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "worker", Annotations: map[string]string{"a": "b"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Other", UID: "o"}, {APIVersion: "v1", Kind: "Node", Name: "worker", UID: "n"}}}}
	full.Spec.Drivers = []storagev1.CSINodeDriver{{Name: "a", NodeID: "worker", TopologyKeys: []string{"zone"}}}
	got, err := trimCSINode(full)
	want := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "worker", OwnerReferences: []metav1.OwnerReference{{Kind: "Node", UID: "n"}}}}
	want.Spec.Drivers = []storagev1.CSINodeDriver{{Name: "a"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, CSINode (-want +got):\n%s", err, diff)
	}
}

func TestTheCacheKeepsOfAPodThatRunsWellOnlyWhereItRuns(t *testing.T) {
	onNode := &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: "no such flag"}}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}
	tests := map[string]struct {
		node        string
		status      corev1.ContainerStatus
		keepsStatus bool
	}{
		"runs":                    {"worker", corev1.ContainerStatus{State: running}, false},
		"runs again":              {"worker", corev1.ContainerStatus{State: running, LastTerminationState: ended}, true},
		"waits":                   {"worker", corev1.ContainerStatus{State: waiting}, true},
		"waits for the scheduler": {"", corev1.ContainerStatus{State: waiting}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			full := &corev1.Pod{Spec: corev1.PodSpec{NodeName: test.node, Affinity: onNode}}
			full.Status.ContainerStatuses = []corev1.ContainerStatus{test.status}
			want := &corev1.Pod{Spec: corev1.PodSpec{NodeName: test.node}}
			if test.node == "" {
				want.Spec.Affinity = onNode
			}
			if test.keepsStatus {
				want.Status.ContainerStatuses = full.Status.ContainerStatuses
			}
			got, err := trimPod(full)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("error %v, pod (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestNodePredicate(t *testing.T) {
	tests := map[string]struct {
		edit func(*corev1.Node)
		want bool
	}{
		"made again": {func(n *corev1.Node) { n.UID = "v" }, true},
		"heartbeat":  {func(n *corev1.Node) { n.Status.Conditions[1].LastHeartbeatTime = metav1.Now() }, false},
		"pressure":   {func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionTrue }, false},
		"not ready":  {func(n *corev1.Node) { n.Status.Conditions[1].Status = corev1.ConditionUnknown }, true},
		"images":     {func(n *corev1.Node) { n.Status.Images = nil }, false},
		"annotation": {func(n *corev1.Node) { n.Annotations["a"] = "b" }, false},
		"taint":      {func(n *corev1.Node) { n.Spec.Taints = n.Spec.Taints[:1] }, true},
		"cordon":     {func(n *corev1.Node) { n.Spec.Unschedulable = true }, false},
		"label":      {func(n *corev1.Node) { n.Labels["pool"] = "b" }, true},
		"runtime":    {func(n *corev1.Node) { n.Status.NodeInfo.ContainerRuntimeVersion = "cri-o://1.36.0" }, true},
		"OS image":   {func(n *corev1.Node) { n.Status.NodeInfo.OSImage = "Bottlerocket" }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			after := fatNode()
			test.edit(after)
			if got := nodeChanges().Update(event.UpdateEvent{ObjectOld: fatNode(), ObjectNew: after}); got != test.want {
				t.Errorf("let through: %v, want %v", got, test.want)
			}
		})
	}
}

func TestRegistrationPredicate(t *testing.T) {
	registration := func(edit func(*storagev1.CSINode)) *storagev1.CSINode {
		out := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "worker", OwnerReferences: []metav1.OwnerReference{{Kind: "Node", UID: "n"}}}}
		out.Spec.Drivers = []storagev1.CSINodeDriver{{Name: "a", NodeID: "worker"}}
		edit(out)
		return out
	}
	tests := map[string]struct {
		edit func(*storagev1.CSINode)
		want bool
	}{
		"annotation": {func(n *storagev1.CSINode) { n.Annotations = map[string]string{"a": "b"} }, false},
		"topology":   {func(n *storagev1.CSINode) { n.Spec.Drivers[0].TopologyKeys = []string{"zone"} }, false},
		"one more driver": {func(n *storagev1.CSINode) {
			n.Spec.Drivers = append(n.Spec.Drivers, storagev1.CSINodeDriver{Name: "b"})
		}, true},
		"one driver fewer": {func(n *storagev1.CSINode) { n.Spec.Drivers = nil }, true},
		"another node":     {func(n *storagev1.CSINode) { n.OwnerReferences[0].UID = "m" }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before, after := registration(func(*storagev1.CSINode) {}), registration(test.edit)
			if got := registrationChanges().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != test.want {
				t.Errorf("let through: %v, want %v", got, test.want)
			}
		})
	}
}
