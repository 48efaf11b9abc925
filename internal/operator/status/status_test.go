package status

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/claims"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

const name = "image.example.com"

var (
	early = metav1.NewTime(time.Unix(1000, 0))
	late  = metav1.NewTime(time.Unix(2000, 0))
)

func observe(edits ...func(*Observation)) Observation {
	seen := Observation{
		Driver: &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 3}},
		Names:  []string{name},
		Table:  nodeclass.NewTable(nil),
	}
	for _, edit := range edits {
		edit(&seen)
	}
	return seen
}

func ready(node string) func(*Observation) { return withNode(node, name) }

func withNode(node string, registered ...string) func(*Observation) {
	return func(seen *Observation) {
		seen.Nodes = append(seen.Nodes, Node{
			Node:       placement.Node{Name: node, Selected: true, Current: "containerd", Wanted: "containerd", RuntimeVersion: "containerd://2.1.4"},
			Registered: sets.New(registered...),
		})
	}
}

func unsupported(node string) func(*Observation) {
	return func(seen *Observation) {
		seen.Nodes = append(seen.Nodes, Node{Node: placement.Node{Name: node, Selected: true,
			Unsupported: &nodeclass.Unsupported{Reason: v1alpha1.ProblemRuntimeUnsupported, Message: "Docker", Remedy: "Move."}}})
	}
}

func waiting(node string) func(*Observation) {
	return func(seen *Observation) {
		withNode(node, name)(seen)
		last := &seen.Nodes[len(seen.Nodes)-1]
		last.Wanted, last.UsedBy = "crio", "apps/web"
	}
}

func daemonSet(generation, observed int64, desired, updated int32) func(*Observation) {
	return func(seen *Observation) {
		d := appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "ds", Generation: generation,
			Labels: map[string]string{contract.NodeClassLabel: "containerd"}}}
		d.Status = appsv1.DaemonSetStatus{ObservedGeneration: observed, DesiredNumberScheduled: desired, UpdatedNumberScheduled: updated}
		seen.DaemonSets = []appsv1.DaemonSet{d}
	}
}

func pod(node, reason, message string) func(*Observation) {
	return func(seen *Observation) {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "plugin-" + node}, Spec: corev1.PodSpec{NodeName: node}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Image: "example.com/plugin:v1", RestartCount: 4,
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 2}}}}
		seen.Pods = append(seen.Pods, p)
	}
}

func managed(state v1alpha1.ManagementState) func(*Observation) {
	return func(seen *Observation) { seen.Driver.Spec.ManagementState = state }
}

func removal(stage Removal) func(*Observation) {
	return func(seen *Observation) { seen.Removal = stage }
}

func refused(seen *Observation) {
	seen.Refusal = &claims.Refusal{Reason: claims.ReasonNameConflict, Message: "Taken by b."}
}

func TestConditions(t *testing.T) {
	tests := map[string]struct {
		seen                             Observation
		available, progressing, degraded string
	}{
		"all ready":           {observe(ready("a"), daemonSet(1, 1, 1, 1)), "True NodesReady", "False RolledOut", "False AsExpected"},
		"ready beside docker": {observe(ready("a"), unsupported("b"), daemonSet(1, 1, 1, 1)), "True NodesReady", "False RolledOut", "False AsExpected"},
		"one not ready":       {observe(ready("a"), withNode("b"), daemonSet(1, 1, 2, 2)), "False NodesNotReady", "False RolledOut", "False AsExpected"},
		"only docker":         {observe(unsupported("a")), "False NoEligibleNodes", "False RolledOut", "False AsExpected"},
		"no nodes":            {observe(), "False NoEligibleNodes", "False RolledOut", "False AsExpected"},
		"new DaemonSet":       {observe(withNode("a"), daemonSet(1, 0, 0, 0)), "False NodesNotReady", "True RollingOut", "False AsExpected"},
		"half updated":        {observe(ready("a"), daemonSet(2, 2, 2, 1)), "True NodesReady", "True RollingOut", "False AsExpected"},
		"image pull fails":    {observe(withNode("a"), daemonSet(1, 1, 1, 1), pod("a", "ImagePullBackOff", "denied")), "False NodesNotReady", "False RolledOut", "True NodePluginFailing"},
		"starting":            {observe(withNode("a"), daemonSet(1, 1, 1, 1), pod("a", "ContainerCreating", "")), "False NodesNotReady", "False RolledOut", "False AsExpected"},
		"apply failed":        {observe(ready("a"), func(s *Observation) { s.Err = errors.New("quota") }), "True NodesReady", "False RolledOut", "True ApplyFailed"},
		"refused":             {observe(ready("a"), refused), "True NodesReady", "False NameConflict", "True NameConflict"},
		"unmanaged":           {observe(ready("a"), managed(v1alpha1.Unmanaged), daemonSet(2, 1, 2, 1)), "True NodesReady", "False Unmanaged", "False AsExpected"},
		"waiting to leave":    {observe(waiting("a"), removal(RemovalWaiting)), "True NodesReady", "True WaitingForVolumes", "False AsExpected"},
		"leaving":             {observe(ready("a"), removal(RemovalStopping)), "True NodesReady", "True StoppingPlugins", "False AsExpected"},
		"gone":                {observe(withNode("a"), removal(RemovalDone)), "False Removed", "False Removed", "False AsExpected"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := Of(v1alpha1.ImageCSIDriverStatus{}, test.seen, early)
			for kind, want := range map[string]string{"Available": test.available, "Progressing": test.progressing, "Degraded": test.degraded} {
				found := meta.FindStatusCondition(got.Conditions, kind)
				if is := fmt.Sprintf("%s %s", found.Status, found.Reason); is != want {
					t.Errorf("%s is %q (%s), want %q", kind, is, found.Message, want)
				}
				if found.Message == "" || !strings.HasSuffix(strings.TrimSpace(found.Message), ".") && kind != "Degraded" {
					t.Errorf("%s has no sentence: %q", kind, found.Message)
				}
			}
		})
	}
}

func TestTransitionTimesChangeOnlyWithTheStatus(t *testing.T) {
	first := Of(v1alpha1.ImageCSIDriverStatus{}, observe(withNode("a"), daemonSet(1, 1, 1, 1)), early)
	if diff := cmp.Diff(first, Of(first, observe(withNode("a"), daemonSet(1, 1, 1, 1)), late)); diff != "" {
		t.Error("the same observation changed the status (-before +after):\n" + diff)
	}
	second := Of(first, observe(ready("a"), daemonSet(1, 1, 1, 1)), late)
	if got := meta.FindStatusCondition(second.Conditions, "Available").LastTransitionTime; !got.Equal(&late) {
		t.Errorf("Available turned at %v, want %v", got, late)
	}
	if got := meta.FindStatusCondition(second.Conditions, "Degraded").LastTransitionTime; !got.Equal(&early) {
		t.Errorf("Degraded did not turn, but its time is %v", got)
	}
}

func TestARolledOutGenerationStaysSo(t *testing.T) {
	done := Of(v1alpha1.ImageCSIDriverStatus{}, observe(ready("a"), daemonSet(4, 4, 1, 1)), early)
	rebooted := Of(done, observe(ready("a"), withNode("b"), daemonSet(4, 4, 2, 1)), late)
	if got := meta.FindStatusCondition(rebooted.Conditions, "Progressing"); got.Status != metav1.ConditionFalse {
		t.Errorf("a missing pod of a rolled out generation is progress: %s", got.Message)
	}
	changed := Of(rebooted, observe(ready("a"), withNode("b"), daemonSet(5, 4, 2, 2)), late)
	if got := meta.FindStatusCondition(changed.Conditions, "Progressing"); got.Status != metav1.ConditionTrue {
		t.Errorf("a generation that the DaemonSet controller has not seen is no progress: %s", got.Message)
	}
}

func TestCounts(t *testing.T) {
	got := Of(v1alpha1.ImageCSIDriverStatus{}, observe(ready("a"), withNode("b"), unsupported("c"), waiting("d"), func(s *Observation) {
		s.Nodes = append(s.Nodes, Node{Node: placement.Node{Name: "not-selected"}})
	}), early)
	want := v1alpha1.NodeCounts{Summary: "2/3", Total: 5, Eligible: 3, Ready: 2, Unsupported: 1, Waiting: 1}
	if diff := cmp.Diff(want, got.Nodes); diff != "" {
		t.Error("counts (-want +got):\n" + diff)
	}
}

func TestProblemsAreSortedBoundedAndSayWhatToDo(t *testing.T) {
	got := Of(v1alpha1.ImageCSIDriverStatus{}, observe(unsupported("a"), withNode("c"), withNode("b"), waiting("d"), withNode("e"),
		pod("e", "CrashLoopBackOff", "")), early).Problems
	var order []string
	for _, problem := range got {
		order = append(order, problem.Node+" "+string(problem.Reason))
	}
	want := []string{"e NodePluginCrashing", "b NotRegistered", "c NotRegistered", "d WaitingForVolumes", "a RuntimeUnsupported"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Error("problems (-want +got):\n" + diff)
	}
	if !strings.Contains(got[0].Message, "exit code 2") || !strings.Contains(got[3].Message, "apps/web") {
		t.Errorf("messages %q and %q do not tell what is wrong", got[0].Message, got[3].Message)
	}

	many := observe()
	for i := range 50 {
		withNode(fmt.Sprintf("n%02d", i))(&many)
		pod(fmt.Sprintf("n%02d", i), "CreateContainerError", strings.Repeat("é", 600))(&many)
	}
	sampled := Of(v1alpha1.ImageCSIDriverStatus{}, many, early).Problems
	if len(sampled) != v1alpha1.MaxProblems || len(sampled[0].Message) > v1alpha1.MaxProblemMessage {
		t.Errorf("%d problems, message of %d bytes", len(sampled), len(sampled[0].Message))
	}
}

func TestAMissingAliasIsTold(t *testing.T) {
	got := Of(v1alpha1.ImageCSIDriverStatus{}, observe(ready("a"), func(s *Observation) { s.Names = append(s.Names, "alias.example.com") }), early)
	if len(got.Problems) != 1 || got.Problems[0].Reason != v1alpha1.ProblemAliasMissing {
		t.Errorf("problems %+v", got.Problems)
	}
}

func TestObservedGenerationNeedsSuccess(t *testing.T) {
	previous := v1alpha1.ImageCSIDriverStatus{ObservedGeneration: 2}
	for what, edit := range map[string]func(*Observation){"error": func(s *Observation) { s.Err = errors.New("x") }, "refusal": refused} {
		if got := Of(previous, observe(edit), early).ObservedGeneration; got != 2 {
			t.Errorf("with an %s, observedGeneration is %d", what, got)
		}
	}
	if got := Of(previous, observe(), early).ObservedGeneration; got != 3 {
		t.Errorf("observedGeneration is %d, want 3", got)
	}
}

func TestNodeOfAPendingPodIsInItsAffinity(t *testing.T) {
	p := &corev1.Pod{}
	p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"a"}}}}}}}}
	if got := NodeOf(p); got != "a" {
		t.Errorf("NodeOf = %q", got)
	}
}
