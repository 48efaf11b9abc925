package status

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/conflicts"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
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

// named is a node that has reported that it is ready.
func named(node string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
}

func ready(node string) func(*Observation) { return withNode(node, name) }

func withNode(node string, registered ...string) func(*Observation) {
	return func(seen *Observation) {
		seen.Nodes = append(seen.Nodes, placement.Node{Node: named(node), Selected: true, Current: "containerd", Wanted: "containerd",
			RuntimeVersion: "containerd://2.1.4", Registered: sets.New(registered...)})
	}
}

func unsupported(node string) func(*Observation) {
	return func(seen *Observation) {
		seen.Nodes = append(seen.Nodes, placement.Node{Node: named(node), Selected: true,
			Unsupported: &nodeclass.Unsupported{Reason: v1alpha1.ProblemRuntimeUnsupported, Message: "Docker", Remedy: "Move."}})
	}
}

func waiting(node string) func(*Observation) {
	return func(seen *Observation) {
		withNode(node, name)(seen)
		last := &seen.Nodes[len(seen.Nodes)-1]
		last.Wanted, last.UsedBy = "crio", "apps/web"
	}
}

// left is a node from which a removal has taken the driver.
func left(node string) func(*Observation) {
	return func(seen *Observation) {
		withNode(node)(seen)
		seen.Nodes[len(seen.Nodes)-1].Current = ""
	}
}

func phase(phase v1alpha1.RolloutPhase) func(*Observation) {
	return func(seen *Observation) {
		seen.Rollout = &v1alpha1.RolloutStatus{Phase: phase, Message: "So it is."}
	}
}

func rolloutFailed(phase v1alpha1.RolloutPhase) func(*Observation) {
	return func(seen *Observation) {
		seen.Rollout = &v1alpha1.RolloutStatus{Phase: phase, Message: "So it is.",
			Failure: &v1alpha1.RolloutFailure{Node: "a", Reason: v1alpha1.ProblemCrashing, Message: "It said last: no such flag."}}
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
	seen.Refusal = &conflicts.Refusal{Reason: conflicts.ReasonNameConflict, Message: "Taken by b."}
}

func TestASeccompProfileThatIsNotInEffectIsTold(t *testing.T) {
	for name, test := range map[string]struct {
		seccomp security.Seccomp
		want    string
		words   string
	}{
		"none asked for": {security.Seccomp{}, "False AsExpected", "No action needed."},
		"in effect":      {security.Seccomp{Profile: "p", State: "Installed", File: "operator/p.json"}, "False AsExpected", "No action needed."},
		"on its way":     {security.Seccomp{Profile: "p", State: "Pending"}, "False AsExpected", "until the Security Profiles Operator has installed SeccompProfile p"},
		"no such kind":   {security.Seccomp{Profile: "p", Missing: true}, "True SeccompProfileNotInEffect", "the cluster has no Security Profiles Operator"},
		"in error": {security.Seccomp{Profile: "p", State: "Error", Message: "syscall not allowed"}, "True SeccompProfileNotInEffect",
			"SeccompProfile p is in state Error: syscall not allowed."},
		"disabled": {security.Seccomp{Profile: "p", State: "Disabled"}, "True SeccompProfileNotInEffect", "SeccompProfile p is in state Disabled."},
	} {
		t.Run(name, func(t *testing.T) {
			seen := observe(ready("a"))
			seen.Seccomp = test.seccomp
			got := meta.FindStatusCondition(Of(v1alpha1.ImageCSIDriverStatus{}, seen, early).Conditions, v1alpha1.ConditionDegraded)
			if string(got.Status)+" "+got.Reason != test.want || !strings.Contains(got.Message, test.words) || test.words == "No action needed." && got.Message != test.words {
				t.Errorf("Degraded is %s %s: %s", got.Status, got.Reason, got.Message)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	tests := map[string]struct {
		seen                             Observation
		available, progressing, degraded string
	}{
		"all ready":           {observe(ready("a"), phase(v1alpha1.PhaseComplete)), "True NodesReady", "False RolledOut", "False AsExpected"},
		"ready beside docker": {observe(ready("a"), unsupported("b"), phase(v1alpha1.PhaseComplete)), "True NodesReady", "False RolledOut", "False AsExpected"},
		"one not ready":       {observe(ready("a"), withNode("b"), phase(v1alpha1.PhaseComplete)), "False NodesNotReady", "False RolledOut", "False AsExpected"},
		"only docker":         {observe(unsupported("a")), "False NoEligibleNodes", "False RolledOut", "False AsExpected"},
		"no nodes":            {observe(), "False NoEligibleNodes", "False RolledOut", "False AsExpected"},
		"canary":              {observe(ready("a"), phase(v1alpha1.PhaseCanary)), "True NodesReady", "True RollingOut", "False AsExpected"},
		"half updated":        {observe(ready("a"), phase(v1alpha1.PhaseUpdating)), "True NodesReady", "True RollingOut", "False AsExpected"},
		"paused":              {observe(ready("a"), phase(v1alpha1.PhasePaused)), "True NodesReady", "False Paused", "False AsExpected"},
		"rolling back":        {observe(ready("a"), rolloutFailed(v1alpha1.PhaseRollingBack)), "True NodesReady", "True RollingBack", "True RolloutFailed"},
		"rolled back":         {observe(ready("a"), rolloutFailed(v1alpha1.PhaseRolledBack)), "True NodesReady", "False RolloutFailed", "True RolloutFailed"},
		"image pull fails":    {observe(withNode("a"), phase(v1alpha1.PhaseComplete), pod("a", "ImagePullBackOff", "denied")), "False NodesNotReady", "False RolledOut", "True NodePluginFailing"},
		"starting":            {observe(withNode("a"), phase(v1alpha1.PhaseComplete), pod("a", "ContainerCreating", "")), "False NodesNotReady", "False RolledOut", "False AsExpected"},
		"apply failed":        {observe(ready("a"), func(s *Observation) { s.Err = errors.New("quota") }), "True NodesReady", "False RolledOut", "True ApplyFailed"},
		"refused":             {observe(ready("a"), refused), "True NodesReady", "False NameConflict", "True NameConflict"},
		"unmanaged":           {observe(ready("a"), managed(v1alpha1.Unmanaged), phase(v1alpha1.PhaseCanary)), "True NodesReady", "False Unmanaged", "False AsExpected"},
		"waiting to leave":    {observe(waiting("a"), removal(RemovalWaiting)), "True NodesReady", "True WaitingForVolumes", "False AsExpected"},
		"gone from one node":  {observe(waiting("a"), left("b"), removal(RemovalWaiting)), "True NodesReady", "True WaitingForVolumes", "False AsExpected"},
		"gone from all nodes": {observe(left("a"), removal(RemovalStopping)), "False NodesNotReady", "True StoppingPlugins", "False AsExpected"},
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
	first := Of(v1alpha1.ImageCSIDriverStatus{}, observe(withNode("a"), phase(v1alpha1.PhaseComplete)), early)
	if diff := cmp.Diff(first, Of(first, observe(withNode("a"), phase(v1alpha1.PhaseComplete)), late)); diff != "" {
		t.Error("the same observation changed the status (-before +after):\n" + diff)
	}
	second := Of(first, observe(ready("a"), phase(v1alpha1.PhaseComplete)), late)
	if got := meta.FindStatusCondition(second.Conditions, "Available").LastTransitionTime; !got.Equal(&late) {
		t.Errorf("Available turned at %v, want %v", got, late)
	}
	if got := meta.FindStatusCondition(second.Conditions, "Degraded").LastTransitionTime; !got.Equal(&early) {
		t.Errorf("Degraded did not turn, but its time is %v", got)
	}
}

func TestAFailedRolloutTellsWhatTheNodeSaid(t *testing.T) {
	got := Of(v1alpha1.ImageCSIDriverStatus{}, observe(ready("a"), rolloutFailed(v1alpha1.PhaseRolledBack)), early)
	message := meta.FindStatusCondition(got.Conditions, "Degraded").Message
	for _, want := range []string{"node a", "no such flag", "NodePluginCrashing"} {
		if !strings.Contains(message, want) {
			t.Errorf("Degraded %q does not tell %q", message, want)
		}
	}
}

func TestARolloutIsBounded(t *testing.T) {
	rollout := &v1alpha1.RolloutStatus{Message: strings.Repeat("é", 600), Failure: &v1alpha1.RolloutFailure{Message: strings.Repeat("é", 600)}}
	for i := range 50 {
		rollout.Updating = append(rollout.Updating, fmt.Sprintf("n%02d", i))
	}
	got := Of(v1alpha1.ImageCSIDriverStatus{}, observe(func(s *Observation) { s.Rollout = rollout }), early).Rollout
	if len(got.Updating) != v1alpha1.MaxUpdatingNodes || len(got.Message) > v1alpha1.MaxProblemMessage || len(got.Failure.Message) > v1alpha1.MaxProblemMessage {
		t.Errorf("%d nodes, messages of %d and %d bytes", len(got.Updating), len(got.Message), len(got.Failure.Message))
	}
}

func TestAClassCountsThePodsInItsPresentForm(t *testing.T) {
	labels := func(class, revision string) map[string]string {
		return map[string]string{contract.NodeClassLabel: class, contract.RevisionLabel: revision}
	}
	got := Of(v1alpha1.ImageCSIDriverStatus{}, observe(ready("a"), ready("b"), ready("c"), func(s *Observation) {
		d := appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "ds", Labels: labels("containerd", "")}}
		d.Spec.Template.Labels = labels("containerd", "2")
		s.DaemonSets = []appsv1.DaemonSet{d}
		for node, labels := range map[string]map[string]string{"a": labels("containerd", "2"), "b": labels("containerd", "1"), "c": labels("crio", "2")} {
			s.Pods = append(s.Pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{NodeName: node}})
		}
	}), early).NodeClasses
	if len(got) != 1 || got[0].Revision != "2" || got[0].Updated != 1 || got[0].Nodes != 3 {
		t.Errorf("classes %+v", got)
	}
}

func TestTheMessageIsThatOfTheWorstCondition(t *testing.T) {
	well := Of(v1alpha1.ImageCSIDriverStatus{}, observe(ready("a")), early)
	if well.Message != meta.FindStatusCondition(well.Conditions, v1alpha1.ConditionAvailable).Message || well.Message == "" {
		t.Errorf("message %q of conditions %+v", well.Message, well.Conditions)
	}
	failed := observe(ready("a"))
	failed.Err = errors.New(strings.Repeat("é", 2000))
	ill := Of(well, failed, early)
	if degraded := meta.FindStatusCondition(ill.Conditions, v1alpha1.ConditionDegraded).Message; !strings.HasPrefix(degraded, ill.Message[:500]) || len([]rune(ill.Message)) > 1024 {
		t.Errorf("message %q of conditions %+v", ill.Message, ill.Conditions)
	}
}

func TestCounts(t *testing.T) {
	got := Of(v1alpha1.ImageCSIDriverStatus{}, observe(ready("a"), withNode("b"), unsupported("c"), waiting("d"), func(s *Observation) {
		s.Nodes = append(s.Nodes, placement.Node{Node: named("not-selected")})
	}), early)
	want := v1alpha1.NodeCounts{Summary: "2/3", Total: 5, Eligible: 3, Ready: 2, Unsupported: 1, Waiting: 1}
	if diff := cmp.Diff(want, got.Nodes); diff != "" {
		t.Error("counts (-want +got):\n" + diff)
	}
}

func TestANodeWhoseRuntimeDoesNotAnswerIsEligibleAndNotReady(t *testing.T) {
	got := Of(v1alpha1.ImageCSIDriverStatus{}, observe(ready("a"), ready("b"), func(s *Observation) {
		s.Nodes[1].Unknown = &nodeclass.Unknown{Message: "It says nothing"}
	}), early)
	if diff := cmp.Diff(v1alpha1.NodeCounts{Summary: "1/2", Total: 2, Eligible: 2, Ready: 1}, got.Nodes); diff != "" {
		t.Error("counts (-want +got):\n" + diff)
	}
	if len(got.Problems) != 1 || got.Problems[0].Reason != v1alpha1.ProblemRuntimeSilent || got.Problems[0].Node != "b" {
		t.Errorf("problems %+v", got.Problems)
	}
	if class := got.NodeClasses[0]; class.Nodes != 2 || class.Ready != 1 {
		t.Errorf("class %+v", class)
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

func TestUnsupportedNodesAreCountedByTheirReason(t *testing.T) {
	many := observe(ready("a"))
	for i := range 30 {
		withNode(fmt.Sprintf("b%02d", i))(&many) // They fill the sample of problems.
	}
	docker := unsupported("y")
	for _, add := range []func(*Observation){docker, unsupported("x"), unsupported("z"), func(s *Observation) {
		s.Nodes = append(s.Nodes, placement.Node{Node: named("old"), Selected: true, Unsupported: &nodeclass.Unsupported{
			Reason: v1alpha1.ProblemRuntimeTooOld, Message: strings.Repeat("é", 600), Remedy: "Upgrade."}})
	}} {
		add(&many)
	}
	got := Of(v1alpha1.ImageCSIDriverStatus{}, many, early)
	if got.Nodes.Unsupported != 4 || len(got.Unsupported) != 2 {
		t.Fatalf("%d unsupported nodes, by reason: %+v", got.Nodes.Unsupported, got.Unsupported)
	}
	if old := got.Unsupported[0]; old.Reason != v1alpha1.ProblemRuntimeTooOld || old.Nodes != 1 || len(old.Message) > v1alpha1.MaxProblemMessage {
		t.Errorf("too old: %+v", old)
	}
	want := v1alpha1.UnsupportedNodes{Reason: v1alpha1.ProblemRuntimeUnsupported, Nodes: 3, Node: "x", Message: "Docker. Move."}
	if diff := cmp.Diff(want, got.Unsupported[1]); diff != "" {
		t.Error("unsupported (-want +got):\n" + diff)
	}
}

func TestADroppedAliasThatIsInUseIsTold(t *testing.T) {
	got := Of(v1alpha1.ImageCSIDriverStatus{}, observe(ready("a"), func(s *Observation) { s.Nodes[0].UsedBy = "apps/web" }), early)
	if len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Message, "apps/web") || !strings.Contains(got.Problems[0].Message, "spec.aliases") || got.Nodes.Waiting != 1 {
		t.Errorf("problems %+v, counts %+v", got.Problems, got.Nodes)
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

// What a look failed to see has not ended.
func TestALookThatFailsTellsNoEnd(t *testing.T) {
	under := func(edits ...func(*Observation)) v1alpha1.ImageCSIDriverStatus {
		return Of(v1alpha1.ImageCSIDriverStatus{}, observe(append(edits, ready("a"))...), early)
	}
	for name, test := range map[string]struct {
		previous v1alpha1.ImageCSIDriverStatus
		failed   func(*Observation)
		want     string
		rollout  v1alpha1.RolloutPhase
	}{
		"a rollout":                     {under(phase(v1alpha1.PhaseUpdating)), func(*Observation) {}, "True RollingOut", v1alpha1.PhaseUpdating},
		"a removal":                     {under(removal(RemovalStopping)), func(*Observation) {}, "True StoppingPlugins", ""},
		"a removal that has got so far": {under(removal(RemovalWaiting), phase(v1alpha1.PhaseComplete)), removal(RemovalWaiting), "True WaitingForVolumes", v1alpha1.PhaseComplete},
		"a rollout that was seen":       {under(phase(v1alpha1.PhaseUpdating)), phase(v1alpha1.PhaseRollingBack), "True RollingBack", v1alpha1.PhaseRollingBack},
		"a new driver":                  {v1alpha1.ImageCSIDriverStatus{}, func(*Observation) {}, "False RolledOut", ""},
	} {
		t.Run(name, func(t *testing.T) {
			seen := observe(ready("a"), test.failed)
			seen.Err = errors.New("no answer")
			got := Of(test.previous, seen, late)
			progressing := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionProgressing)
			if is := string(progressing.Status) + " " + progressing.Reason; is != test.want {
				t.Errorf("Progressing is %s, want %s", is, test.want)
			}
			phase := v1alpha1.RolloutPhase("")
			if got.Rollout != nil {
				phase = got.Rollout.Phase
			}
			if phase != test.rollout {
				t.Errorf("the rollout is %q, want %q", phase, test.rollout)
			}
		})
	}
}

// There may be an error for each of thousands of nodes.
func TestErrorsAreToldInOneKilobyte(t *testing.T) {
	for _, text := range []string{strings.Repeat("no answer; ", 1000), strings.Repeat("é", 5000), "a" + strings.Repeat("é", 5000)} {
		seen := observe(ready("a"))
		seen.Err = errors.New(text)
		got := meta.FindStatusCondition(Of(v1alpha1.ImageCSIDriverStatus{}, seen, early).Conditions, v1alpha1.ConditionDegraded).Message
		if len(got) > 1200 || !utf8.ValidString(got) || !strings.Contains(got, text[:900]) {
			t.Errorf("%d bytes: %.100s", len(got), got)
		}
	}
}

func TestALongTextIsCutBetweenCharacters(t *testing.T) {
	for _, text := range []string{strings.Repeat("a", 2000), strings.Repeat("é", 2000), "a" + strings.Repeat("é", 2000)} {
		got := Shorten(text, 1000)
		kept, isCut := strings.CutSuffix(got, "…")
		if len(got) < 990 || len(got) > 1000 || !utf8.ValidString(got) || !isCut || !strings.HasPrefix(text, kept) {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	}
	for _, text := range []string{"short", strings.Repeat("a", 1000)} {
		if got := Shorten(text, 1000); got != text {
			t.Errorf("got %q", got)
		}
	}
}

func TestADaemonSetThatConfinesLessThanItTellsIsDegraded(t *testing.T) {
	containerd, _ := nodeclass.NewTable(nil).Lookup(nodeclass.Containerd)
	driver := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "a.example"}}
	output := render.Render(render.Input{Driver: driver, Names: []string{driver.Name}, Classes: []nodeclass.Class{containerd}})
	at := slices.IndexFunc(output.Apply, func(o render.Object) bool { _, is := o.(*appsv1.DaemonSet); return is })
	daemonSet := output.Apply[at].(*appsv1.DaemonSet)
	for name, test := range map[string]struct {
		edit func(*corev1.PodSpec)
		want string // nothing: it is as expected
	}{
		"as rendered":           {func(*corev1.PodSpec) {}, ""},
		"in the node's network": {func(p *corev1.PodSpec) { p.HostNetwork = true }, "hostNetwork: true"},
		"another program's container": {func(p *corev1.PodSpec) {
			p.Containers = append(p.Containers, corev1.Container{Name: "theirs"})
		}, ""},
		"privileged": {func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.Privileged = ptr.To(true) }, "securityContext.privileged: true"},
		"a long name": {func(p *corev1.PodSpec) {
			p.Containers[0].SecurityContext.SeccompProfile.LocalhostProfile = ptr.To(strings.Repeat("x", 4096))
		}, "xxx…"},
		"of an earlier release": {func(p *corev1.PodSpec) {
			p.Containers[0].Args, p.Containers[0].SecurityContext.Privileged = nil, ptr.To(true)
		}, ""},
	} {
		live := daemonSet.DeepCopy()
		test.edit(&live.Spec.Template.Spec)
		got := Of(v1alpha1.ImageCSIDriverStatus{}, Observation{Driver: driver, Table: nodeclass.NewTable(nil), DaemonSets: []appsv1.DaemonSet{*live}}, metav1.Now())
		degraded, looser := meta.FindStatusCondition(got.Conditions, v1alpha1.ConditionDegraded), got.NodeClasses[0].Confinement.Looser
		if is := degraded.Reason == ReasonLessConfined; is != (test.want != "") || is != (len(looser) > 0) || !strings.Contains(degraded.Message, test.want) {
			t.Errorf("%s: %s %s, %q", name, degraded.Reason, degraded.Message, looser)
		}
		for _, field := range looser {
			if len(field) > 320 {
				t.Errorf("%s: %d bytes", name, len(field))
			}
		}
	}
}
