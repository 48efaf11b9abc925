package status

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

func ignores(seen *Observation) { seen.Driver.Spec.VolumesInUse = v1alpha1.VolumesIgnore }

// ignored is a node on which a pod was not waited for.
func ignored(node string) func(*Observation) {
	return func(seen *Observation) {
		withNode(node, name)(seen)
		seen.Nodes[len(seen.Nodes)-1].Ignored = "apps/on-" + node
	}
}

// plugin is a node plugin's pod.
func plugin(node, class string, edits ...func(*corev1.Pod)) func(*Observation) {
	return func(seen *Observation) {
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{contract.NodeClassLabel: class}}, Spec: corev1.PodSpec{NodeName: node}}
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		for _, edit := range edits {
			edit(&pod)
		}
		seen.Pods = append(seen.Pods, pod)
	}
}

func TestIgnoredPodsStayToldUntilTheirNodeIsServedAgain(t *testing.T) {
	told := v1alpha1.ImageCSIDriverStatus{IgnoredPods: []v1alpha1.IgnoredPod{{Node: "a", Pod: "apps/before"}}}
	ending := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
	unready := func(p *corev1.Pod) { p.Status.Conditions = nil }
	for name, test := range map[string]struct {
		seen Observation
		want string
	}{
		"nothing has changed":                       {observe(ignores, withNode("a")), "a apps/before"},
		"registered by the node plugin that leaves": {observe(ignores, withNode("a", name), plugin("a", "crio")), "a apps/before"},
		"its node plugin is not ready":              {observe(ignores, withNode("a", name), plugin("a", "containerd", unready)), "a apps/before"},
		"its node plugin ends":                      {observe(ignores, withNode("a", name), plugin("a", "containerd", ending)), "a apps/before"},
		"its node plugin is not registered":         {observe(ignores, withNode("a"), plugin("a", "containerd")), "a apps/before"},
		"the driver is leaving":                     {observe(ignores, removal(RemovalStopping), withNode("a", name), plugin("a", "containerd")), "a apps/before"},
		"served again":                              {observe(ignores, withNode("a", name), plugin("a", "containerd")), ""},
		"the node is gone":                          {observe(ignores, withNode("b")), ""},
		"volumes are waited for again":              {observe(withNode("a")), ""},
		"another pod":                               {observe(ignores, ignored("a")), "a apps/on-a"},
		"one more node":                             {observe(ignores, ignored("b"), withNode("a")), "a apps/before b apps/on-b"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, pod := range Of(told, test.seen, early).IgnoredPods {
				got = append(got, pod.Node, pod.Pod)
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Error("ignored pods (-want +got):\n" + diff)
			}
		})
	}
}

func TestIgnoredPodsAreBoundedAndCounted(t *testing.T) {
	seen := observe(ignores, removal(RemovalDone))
	for i := range 30 {
		ignored(fmt.Sprintf("n%02d", 29-i))(&seen)
	}
	got := Of(v1alpha1.ImageCSIDriverStatus{}, seen, early)
	if len(got.IgnoredPods) != v1alpha1.MaxIgnoredPods || got.IgnoredPods[0].Node != "n00" {
		t.Errorf("%d ignored pods, the first is %+v", len(got.IgnoredPods), got.IgnoredPods[0])
	}
	if got.Nodes.Waiting != 0 {
		t.Errorf("%d nodes are waiting", got.Nodes.Waiting)
	}
	if note := IgnoredNote(seen); !strings.Contains(note, "30 nodes") || !strings.Contains(note, "on node n00: apps/on-n00") {
		t.Errorf("the note is %q", note)
	}
	if note := IgnoredNote(observe(waiting("a"))); note != "" {
		t.Errorf("nothing was ignored, but the note is %q", note)
	}
}

func TestARemovalTellsOfThePodsThatItLeavesBehind(t *testing.T) {
	for _, stage := range []Removal{RemovalStopping, RemovalDone} {
		for what, seen := range map[string]Observation{"some": observe(ignores, removal(stage), ignored("a")), "none": observe(ignores, removal(stage), withNode("a"))} {
			message := meta.FindStatusCondition(Of(v1alpha1.ImageCSIDriverStatus{}, seen, early).Conditions, "Progressing").Message
			if strings.Contains(message, "status.ignoredPods") != (what == "some") {
				t.Errorf("%s, %s left: %q", stage, what, message)
			}
		}
	}
}
