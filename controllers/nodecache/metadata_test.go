package nodecache

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/internal/contract"
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
			{Key: "dedicated", Effect: corev1.TaintEffectNoSchedule}, {Key: "imagecsi.dev/driver-not-ready", Effect: corev1.TaintEffectNoExecute},
			{Key: "virtual-kubelet.io/provider", Value: "azure", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{
			Capacity: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Unix(3000, 0), LastTransitionTime: metav1.Unix(2000, 0), Message: "kubelet is posting ready status"}},
			Images:   []corev1.ContainerImage{{Names: []string{"example.com/big"}}},
			NodeInfo: corev1.NodeSystemInfo{ContainerRuntimeVersion: "containerd://2.1.4", OSImage: "Debian", MachineID: "m", BootID: "b"},
		},
	}
}

// runtimeHandlers are those of a runtime that runs pods with users of their own, or none.
func runtimeHandlers(users bool) []corev1.NodeRuntimeHandler {
	return []corev1.NodeRuntimeHandler{{Name: "kata"}, {Features: &corev1.NodeRuntimeHandlerFeatures{UserNamespaces: &users}}}
}

func TestOfARuntimeIsKeptThatItRunsNoUserNamespaces(t *testing.T) {
	for _, users := range []bool{true, false} {
		in := fatNode()
		in.Status.RuntimeHandlers = runtimeHandlers(users)
		kept := keep[*node](t, TrimNode, in).typed().Status.RuntimeHandlers
		if users && len(kept) != 0 || !users && (len(kept) != 1 || kept[0].Name != "" || *kept[0].Features.UserNamespaces) {
			t.Errorf("of %v, %+v is kept", users, kept)
		}
	}
}

func TestOfANodeOnlyWhatIsReadIsKept(t *testing.T) {
	got, err := TrimNode(fatNode())
	want := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "worker", UID: "u", ResourceVersion: "7", Labels: map[string]string{"pool": "a"}, CreationTimestamp: metav1.Unix(1000, 0)},
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "imagecsi.dev/driver-not-ready", Effect: corev1.TaintEffectNoExecute},
			{Key: "virtual-kubelet.io/provider", Value: "azure", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(2000, 0)}},
			NodeInfo:   corev1.NodeSystemInfo{ContainerRuntimeVersion: "containerd://2.1.4", OSImage: "Debian"},
		},
	}
	if diff := cmp.Diff(want, got.(*node).typed()); err != nil || diff != "" {
		t.Errorf("error %v, node (-want +got):\n%s", err, diff)
	}
}

func TestOfACSINodeTheNamesAreKept(t *testing.T) {
	tests := map[string]struct {
		owners []metav1.OwnerReference
		want   sets.Set[string]
	}{
		"of this node":           {[]metav1.OwnerReference{{Kind: "Other", UID: "o"}, {Kind: "Node", UID: "u"}}, sets.New("a", "b")},
		"of nobody":              {nil, sets.New("a", "b")},
		"of an earlier node":     {[]metav1.OwnerReference{{Kind: "Node", UID: "before"}}, nil},
		"of something else only": {[]metav1.OwnerReference{{Kind: "Other", UID: "o"}}, sets.New("a", "b")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			full := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "worker", OwnerReferences: test.owners}}
			full.Spec.Drivers = []storagev1.CSINodeDriver{{Name: "a", NodeID: "worker", TopologyKeys: []string{"zone"}}, {Name: "b"}}
			got := keep[*registration](t, TrimCSINode, full).on(keep[*node](t, TrimNode, fatNode()))
			if !got.Equal(test.want) {
				t.Errorf("registered are %v, want %v", got, test.want)
			}
		})
	}
}

// keep returns what the cache holds of an object.
func keep[T any](t *testing.T, transform func(any) (any, error), object any) T {
	t.Helper()
	got, err := transform(object)
	out, is := got.(T)
	if err != nil || !is {
		t.Fatalf("kept is a %T, error %v", got, err)
	}
	return out
}

func TestOfAPodThatRunsWellOnlyWhereItRunsIsKept(t *testing.T) {
	onNode := &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Values: []string{"worker"}}}}}}}}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: "no such flag"}}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}
	full := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "no room"}
	bound := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}
	ready := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(3, 0)}
	tests := map[string]struct {
		node          string
		container     corev1.ContainerState
		last          corev1.ContainerState
		scheduled     corev1.PodCondition
		keepsStatus   bool
		keepsSchedule bool
	}{
		"runs":                    {"worker", running, corev1.ContainerState{}, bound, false, false},
		"runs again":              {"worker", running, ended, bound, true, false},
		"waits":                   {"worker", waiting, corev1.ContainerState{}, bound, true, false},
		"waits for the scheduler": {"", waiting, corev1.ContainerState{}, full, true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", UID: "u", ResourceVersion: "7", Labels: map[string]string{"a": "b", contract.RevisionLabel: "r"},
				CreationTimestamp: metav1.Unix(1, 0), DeletionTimestamp: ptr.To(metav1.Unix(2, 0)), Annotations: map[string]string{"a": "b"}}}
			in.Spec = corev1.PodSpec{NodeName: test.node, Affinity: onNode, PriorityClassName: "high"}
			in.Status.Conditions = []corev1.PodCondition{test.scheduled, ready, {Type: corev1.ContainersReady, Status: corev1.ConditionTrue}}
			in.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "plugin", State: test.container, LastTerminationState: test.last}}
			want := &corev1.Pod{ObjectMeta: in.ObjectMeta, Spec: corev1.PodSpec{NodeName: "worker"}}
			want.Annotations, want.Labels = nil, map[string]string{contract.RevisionLabel: "r"}
			if test.keepsStatus {
				want.Status.ContainerStatuses = in.Status.ContainerStatuses
			}
			if test.keepsSchedule {
				want.Status.Conditions = append(want.Status.Conditions, test.scheduled)
			}
			want.Status.Conditions = append(want.Status.Conditions, ready)
			if diff := cmp.Diff(want, keep[*pod](t, TrimPod, in).typed()); diff != "" {
				t.Errorf("pod (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatMattersOfANode(t *testing.T) {
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
		"kernel":     {func(n *corev1.Node) { n.Status.NodeInfo.KernelVersion = "6.18.0" }, true},
		"no users":   {func(n *corev1.Node) { n.Status.RuntimeHandlers = runtimeHandlers(false) }, true},
		"users":      {func(n *corev1.Node) { n.Status.RuntimeHandlers = runtimeHandlers(true) }, false},
		"OS image":   {func(n *corev1.Node) { n.Status.NodeInfo.OSImage = "Bottlerocket" }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			after := fatNode()
			test.edit(after)
			if got := !keep[*node](t, TrimNode, after).same(keep[*node](t, TrimNode, fatNode())); got != test.want {
				t.Errorf("matters: %v, want %v", got, test.want)
			}
		})
	}
}

func TestWhatMattersOfARegistration(t *testing.T) {
	csiNode := func(edit func(*storagev1.CSINode)) *storagev1.CSINode {
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
			before, after := csiNode(func(*storagev1.CSINode) {}), csiNode(test.edit)
			got := !keep[*registration](t, TrimCSINode, after).same(keep[*registration](t, TrimCSINode, before))
			if got != test.want {
				t.Errorf("matters: %v, want %v", got, test.want)
			}
		})
	}
}

func TestWhatMattersOfAPod(t *testing.T) {
	fat := func() *corev1.Pod {
		out := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u", Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{NodeName: "worker"}}
		out.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(3, 0)}}
		out.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "plugin", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		return out
	}
	tests := map[string]struct {
		edit func(*corev1.Pod)
		want bool
	}{
		"annotation":  {func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "b"} }, false},
		"address":     {func(p *corev1.Pod) { p.Status.PodIP = "10.0.0.1" }, false},
		"probe":       {func(p *corev1.Pod) { p.Status.Conditions[0].LastProbeTime = metav1.Now() }, false},
		"revision":    {func(p *corev1.Pod) { p.Labels[contract.RevisionLabel] = "s" }, true},
		"class":       {func(p *corev1.Pod) { p.Labels[contract.NodeClassLabel] = "crio" }, true},
		"driver":      {func(p *corev1.Pod) { p.Labels[contract.DriverLabel] = "d" }, true},
		"other label": {func(p *corev1.Pod) { p.Labels["a"] = "c" }, false},
		"another pod": {func(p *corev1.Pod) { p.UID = "v" }, true},
		"not ready":   {func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }, true},
		"ready later": {func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = metav1.Unix(4, 0) }, true},
		"ends":        {func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Unix(5, 0)) }, true},
		"node":        {func(p *corev1.Pod) { p.Spec.NodeName = "other" }, true},
		"waits": {func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		}, true},
		"unschedulable": {func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable"})
		}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			after := fat()
			test.edit(after)
			if got := !keep[*pod](t, TrimPod, after).same(keep[*pod](t, TrimPod, fat())); got != test.want {
				t.Errorf("matters: %v, want %v", got, test.want)
			}
		})
	}
}
