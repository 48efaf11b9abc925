package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

// on makes images bad on nodes that start with one of some prefixes, and on every node if there is none.
func on(bad string, prefixes ...string) func(node, image string) bool {
	return func(node, image string) bool {
		return image == bad && (len(prefixes) == 0 ||
			slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(node, prefix) }))
	}
}

func TestAFirstInstallationIsNoRollout(t *testing.T) {
	w := newWorld(t, map[string]int{"a": 4})
	w.until(v1alpha1.PhaseComplete)
	w.wantImages("v1", "v1", "v1", "v1")
	w.forAWhile()
	if w.pods != 4 {
		t.Errorf("%d pods were made for 4 nodes", w.pods)
	}
}

func TestAFirstInstallationEndsAlsoWhereANodeFails(t *testing.T) {
	w := newWorld(t, map[string]int{"a": 4})
	w.bad = on("v1", "a-02")
	w.until(v1alpha1.PhaseComplete)

	w.change("v2")
	w.bad = on("v2", "a-00")
	w.until(v1alpha1.PhaseRolledBack)
	w.wantImages("v1", "v1", "v1", "v1")
}

func TestAFirstInstallationThatFailsEverywhereIsMendedAtOnce(t *testing.T) {
	w := newWorld(t, map[string]int{"a": 4})
	w.bad = on("v1")
	w.forAWhile()
	w.change("v2")
	w.decide()
	w.decide()
	w.wantImages("v2", "v2", "v2", "v2")
	w.until(v1alpha1.PhaseComplete)
}

func TestTheCanaryGoesFirstAndTheOthersInWaves(t *testing.T) {
	w := installed(t, 10)
	w.mostDown = 0
	w.change("v2")
	for range 25 {
		w.decide()
		w.wantPhase(v1alpha1.PhaseCanary)
	}
	w.wantImages("v2", "v1", "v1", "v1", "v1", "v1", "v1", "v1", "v1", "v1")
	if got := w.last.Status; !slices.Equal(got.Updating, []string{"a-00"}) || got.Updated != 1 || got.Nodes != 10 {
		t.Errorf("status %+v", got)
	}
	w.until(v1alpha1.PhaseUpdating)
	if got := w.count("v2"); got != 3 {
		t.Errorf("%d nodes are updated after the first wave of 2, want 3", got)
	}
	w.until(v1alpha1.PhaseComplete)
	if got := w.count("v2"); got != 10 {
		t.Errorf("complete with %d of 10 nodes updated", got)
	}
	if w.mostDown != 2 {
		t.Errorf("%d nodes were down at a time, want 2", w.mostDown)
	}
}

func TestTheBudget(t *testing.T) {
	for most, want := range map[string]int{"1": 1, "3": 3, "10%": 2, "50%": 6, "100%": 12, "1%": 1} {
		t.Run(most, func(t *testing.T) {
			w := installed(t, 12)
			w.mostDown = 0
			w.change("v2", func(s *v1alpha1.Rollout) {
				s.MaxUnavailable, s.Canary = ptr.To(intstr.Parse(most)), &v1alpha1.Canary{Nodes: ptr.To[int32](0)}
			})
			w.until(v1alpha1.PhaseComplete)
			if w.mostDown != want {
				t.Errorf("%d nodes were down at a time, want %d", w.mostDown, want)
			}
		})
	}
}

func TestACanaryThatFailsTakesTheChangeBack(t *testing.T) {
	w := installed(t, 3)
	w.change("v2")
	w.bad = on("v2")
	w.until(v1alpha1.PhaseRolledBack)
	w.decide()
	w.wantImages("v1", "v1", "v1")
	failure := w.last.Status.Failure
	if failure == nil || failure.Node != "a-00" || failure.Reason != v1alpha1.ProblemImagePull || !strings.Contains(failure.Message, "manifest unknown") {
		t.Fatalf("failure %+v does not tell what the node said", failure)
	}
	if w.pods != 3+2 {
		t.Errorf("%d pods were made, want 3 and 2 on the canary", w.pods)
	}
	w.forAWhile()
	w.wantPhase(v1alpha1.PhaseRolledBack)
	if w.pods != 3+2 || w.last.Next != 0 {
		t.Errorf("after the rollback, %d pods were made and the next look is in %s", w.pods, w.last.Next)
	}

	w.bad = on("v1-never")
	w.change("v2")
	w.until(v1alpha1.PhaseComplete)
	w.wantImages("v2", "v2", "v2")
	if w.last.Status.Failure != nil {
		t.Errorf("the failure stays after a success: %+v", w.last.Status.Failure)
	}
}

func TestAnotherFormNeedsNoOtherGenerationToBeTried(t *testing.T) {
	w := installed(t, 3)
	w.change("v2")
	w.bad = on("v2")
	w.until(v1alpha1.PhaseRolledBack)
	w.image = "v3" // A newer operator brings another node plugin.
	w.until(v1alpha1.PhaseComplete)
	w.wantImages("v3", "v3", "v3")
}

func TestAFailureInAWaveTakesTheChangeBackEverywhere(t *testing.T) {
	w := newWorld(t, map[string]int{"a": 3, "b": 6})
	w.until(v1alpha1.PhaseComplete)
	w.change("v2")
	w.bad = on("v2", "b-04")
	w.mostDown = 0
	w.until(v1alpha1.PhaseRolledBack)
	w.forAWhile()
	w.wantPhase(v1alpha1.PhaseRolledBack)
	if w.count("v1") != 9 || w.last.Status.Failure.Node != "b-04" {
		t.Errorf("images %v, failure %+v", w.images(), w.last.Status.Failure)
	}
	if w.mostDown > 2*2 {
		t.Errorf("%d nodes of 2 classes were down at a time, want at most 4", w.mostDown)
	}
}

func TestNoClassGoesOnBeforeTheCanariesOfAll(t *testing.T) {
	w := newWorld(t, map[string]int{"a": 3, "b": 1})
	w.until(v1alpha1.PhaseComplete)
	w.change("v2")
	w.bad = on("v2", "b")
	for range 200 {
		w.decide()
	}
	w.wantImages("v2", "v1", "v1", "v2")
	w.until(v1alpha1.PhaseRolledBack)
	w.forAWhile()
	w.wantImages("v1", "v1", "v1", "v1")
}

func TestAPauseBeforeTheStartKeepsTheGoodForm(t *testing.T) {
	w := installed(t, 3)
	w.change("v2", paused)
	w.forAWhile()
	w.wantPhase(v1alpha1.PhasePaused)
	delete(w.classes["a"].pods, "a-01") // Somebody kills a pod.
	w.forAWhile()
	w.wantImages("v1", "v1", "v1")
	w.change("v2", active)
	w.until(v1alpha1.PhaseComplete)
	w.wantImages("v2", "v2", "v2")
}

func TestAPauseInBetweenStopsAndGoesOn(t *testing.T) {
	w := installed(t, 6)
	w.change("v2")
	w.until(v1alpha1.PhaseUpdating)
	w.change("v2", paused)
	before := w.count("v2")
	w.bad = on("v2", "a-00")
	w.forAWhile()
	w.wantPhase(v1alpha1.PhasePaused)
	if got := w.count("v2"); got != before || got == 6 || w.last.Next != 0 {
		t.Errorf("%d nodes are updated, want %d; next look in %s", got, before, w.last.Next)
	}
	w.bad = on("")
	w.decide()
	w.change("v2", active)
	w.until(v1alpha1.PhaseComplete)
	if got := w.count("v2"); got != 6 {
		t.Errorf("complete with %d of 6 nodes updated", got)
	}
}

func TestAPauseWithoutAChangeIsComplete(t *testing.T) {
	w := installed(t, 2)
	w.change("v1", paused)
	w.forAWhile()
	w.wantPhase(v1alpha1.PhaseComplete)
}

func selector(s *v1alpha1.Rollout) {
	s.Canary = &v1alpha1.Canary{NodeSelector: map[string]v1alpha1.LabelValue{"pool": "canary"}}
}

func TestASelectorChoosesTheCanaries(t *testing.T) {
	w := installed(t, 8)
	for i := 5; i < 8; i++ {
		w.node("a", i).Labels = map[string]string{"pool": "canary"}
	}
	w.change("v2", selector)
	w.untilThat("three updated nodes", func() bool { return w.count("v2") == 3 })
	w.wantPhase(v1alpha1.PhaseCanary)
	w.wantImages("v1", "v1", "v1", "v1", "v1", "v2", "v2", "v2")
	w.until(v1alpha1.PhaseComplete)
	if got := w.count("v2"); got != 8 {
		t.Errorf("complete with %d of 8 nodes updated", got)
	}
}

func TestASelectorWithoutANodeStopsTheChangeAndSaysSo(t *testing.T) {
	w := installed(t, 2)
	w.change("v2", selector)
	w.forAWhile()
	w.wantImages("v1", "v1")
	if got := w.last.Status; got.Phase != v1alpha1.PhaseCanary || !strings.Contains(got.Message, "selects no node") {
		t.Errorf("status %+v", got)
	}
	w.node("a", 1).Labels = map[string]string{"pool": "canary"}
	w.until(v1alpha1.PhaseComplete)
}

func TestEverydayEventsAreNoRollout(t *testing.T) {
	events := map[string]func(*world){
		"a killed pod":   func(w *world) { delete(w.classes["a"].pods, "a-01") },
		"an added node":  func(w *world) { w.join("a", "a-99") },
		"a removed node": func(w *world) { w.classes["a"].nodes = w.classes["a"].nodes[:3] },
		"a long reboot": func(w *world) {
			w.reboot(1, time.Hour)
		},
		"a plugin that fails": func(w *world) { w.bad = on("v1", "a-01") },
	}
	for name, happens := range events {
		t.Run(name, func(t *testing.T) {
			w := installed(t, 4)
			happens(w)
			for range 600 {
				w.decide()
				w.wantPhase(v1alpha1.PhaseComplete)
				if len(w.last.Replace) > 0 || w.last.Next != 0 {
					t.Fatalf("decision %+v", w.last)
				}
			}
		})
		t.Run(name+" under way", func(t *testing.T) {
			w := installed(t, 4)
			w.change("v2")
			w.until(v1alpha1.PhaseUpdating)
			happens(w)
			w.bad = on("v1", "a-01")
			w.untilThat("completion", func() bool {
				if w.last.Status.Failure != nil {
					t.Fatalf("taken for a failure: %+v", w.last.Status.Failure)
				}
				return w.last.Status.Phase == v1alpha1.PhaseComplete
			})
			w.forAWhile()
			if got := w.count("v2"); got != len(w.images()) {
				t.Errorf("images %v", w.images())
			}
		})
	}
}

// reboot takes a node away for a while; its pod is not ready when it comes back.
func (w *world) reboot(i int, lasts time.Duration) {
	node := w.node("a", i)
	node.Away = true
	w.ready(w.classes["a"].pods[node.Name], false)
	for end := w.now.Add(lasts); w.now.Before(end); w.now = w.now.Add(time.Minute) {
		w.decide()
	}
	node.Away, node.Back = false, w.now
}

func TestANodeThatIsAwayIsUpdatedWhenItComesBack(t *testing.T) {
	w := installed(t, 3)
	w.node("a", 0).Away = true
	w.change("v2")
	w.until(v1alpha1.PhaseComplete)
	w.wantImages("v1", "v2", "v2")
	w.node("a", 0).Away, w.node("a", 0).Back = false, w.now
	for range 100 {
		w.decide()
		w.wantPhase(v1alpha1.PhaseComplete)
	}
	w.wantImages("v2", "v2", "v2")
}

func TestACanaryThatTakesItsNodeAwayIsTheOnlyOne(t *testing.T) {
	w := installed(t, 3)
	w.change("v2")
	w.untilThat("an updated canary", func() bool { return w.count("v2") == 1 })
	w.node("a", 0).Away = true
	w.forAWhile()
	w.wantImages("v2", "v1", "v1")
	w.wantPhase(v1alpha1.PhaseCanary)
}

func TestANodeThatFailedBeforeIsUpdatedLastAndTellsNothing(t *testing.T) {
	w := installed(t, 4)
	w.bad = func(node, _ string) bool { return node == "a-00" }
	w.forAWhile()
	w.change("v2")
	w.until(v1alpha1.PhaseUpdating)
	w.wantImages("v1", "v2", "v2", "v2")
	w.until(v1alpha1.PhaseComplete)
	w.forAWhile()
	w.wantPhase(v1alpha1.PhaseComplete)
	w.wantImages("v2", "v2", "v2", "v2")
}

func TestANodeThatJoinsAndFailsTellsNothing(t *testing.T) {
	w := installed(t, 4)
	w.change("v2", func(s *v1alpha1.Rollout) { s.MinReadySeconds = ptr.To[int32](200) }) // Longer than the deadline, in all.
	w.untilThat("an updated canary", func() bool { return w.count("v2") == 1 })
	w.join("a", "a-99")
	w.bad = on("v2", "a-99")
	w.until(v1alpha1.PhaseComplete)
	if got := w.count("v2"); got != 5 {
		t.Errorf("images %v", w.images())
	}
}

func TestANodeThatComesBackHasTheWholeDeadlineForItsPod(t *testing.T) {
	now := time.Unix(100000, 0)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}}
	node := &placement.Node{Node: &corev1.Node{}, Back: now.Add(-24 * time.Hour)}
	first := examine(Input{Names: names, Now: now.Add(-time.Hour)}, node, pod, "")
	in := Input{Names: names, Now: now, Seen: Sightings{pod.UID: *first.sighting}}
	if got := examine(in, node, pod, ""); got.state != failing {
		t.Errorf("a pod that is not ready for an hour: state %d, want %d", got.state, failing)
	}
	node.Back = now
	if got := examine(in, node, pod, ""); got.state != pending {
		t.Errorf("the same one after its node was away: state %d, want %d", got.state, pending)
	}
}

func TestACorrectionInBetweenStartsWithWhatIsBroken(t *testing.T) {
	w := installed(t, 4)
	w.change("v2")
	w.bad = on("v2")
	w.untilThat("a broken canary", func() bool { return w.count("v2") == 1 })
	w.decide()
	w.change("v3")
	w.untilThat("a corrected canary", func() bool { return w.count("v3") == 1 })
	w.wantImages("v3", "v1", "v1", "v1")
	w.until(v1alpha1.PhaseComplete)
	w.wantImages("v3", "v3", "v3", "v3")
}

func TestRollbackToWhatAnEarlierReleaseRan(t *testing.T) {
	w := newWorld(t, map[string]int{"a": 2})
	earlier := w.rendered("a")
	earlier.Spec.UpdateStrategy.Type = appsv1.RollingUpdateDaemonSetStrategyType
	w.classes["a"].live = earlier
	w.live()
	w.now = w.now.Add(time.Hour)
	w.change("v2")
	w.bad = on("v2")
	w.until(v1alpha1.PhaseRolledBack)
	w.decide()
	w.wantImages("v1", "v1")
	if got := w.revision("a"); got != "" {
		t.Errorf("revision %q, want that of the earlier release", got)
	}
	w.bad = on("")
	w.change("v3")
	w.until(v1alpha1.PhaseComplete)
	w.wantImages("v3", "v3")
}

func TestNoPodIsReplacedBeforeTheDaemonSetControllerKnowsTheNewForm(t *testing.T) {
	tests := map[string]func(*appsv1.DaemonSet){
		"another generation": func(d *appsv1.DaemonSet) { d.Status.ObservedGeneration-- },
		"another strategy": func(d *appsv1.DaemonSet) {
			d.Spec.UpdateStrategy.Type = appsv1.RollingUpdateDaemonSetStrategyType
		},
		"another template": func(d *appsv1.DaemonSet) { d.Spec.Template.Labels = nil },
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			w := installed(t, 2)
			w.change("v2")
			if got := w.decide().Replace; len(got) > 0 {
				t.Errorf("%d pods are replaced together with the template", len(got))
			}
			live := w.classes["a"].live
			edit(live)
			if got := w.decide().Replace; len(got) > 0 {
				t.Errorf("%d pods are replaced", len(got))
			}
		})
	}
}

func TestTheNextLookIsWhenTimeDecides(t *testing.T) {
	w := installed(t, 3)
	w.change("v2")
	w.bad = on("v2")
	w.untilThat("a canary", func() bool { return w.count("v2") == 1 })
	if got := w.decide().Next; got < 290*time.Second || got > 300*time.Second {
		t.Errorf("while the canary starts, the next look is in %s", got)
	}
	w.bad = on("")
	w.live()
	if got := w.decide().Next; got < 25*time.Second || got > 30*time.Second {
		t.Errorf("while the canary proves itself, the next look is in %s", got)
	}
}

func TestAFormIsNotWorkingUntilEveryNameIsRegistered(t *testing.T) {
	w := installed(t, 2)
	for i := range 2 {
		w.node("a", i).Registered.Delete("alias.example.com") // A new alias that the present form does not know.
	}
	w.decide()
	w.wantPhase(v1alpha1.PhaseComplete)
	w.change("v2")
	w.until(v1alpha1.PhaseRolledBack)
	if got := w.last.Status.Failure.Reason; got != v1alpha1.ProblemNotRegistered {
		t.Errorf("reason %s", got)
	}
}

func TestTheRevisionIsThatOfTheTemplate(t *testing.T) {
	w := installed(t, 1)
	first := w.revision("a")
	w.forAWhile()
	if got := w.revision("a"); got != first || len(got) != revisionDigits {
		t.Errorf("revision %q, then %q", first, got)
	}
	w.change("v2")
	w.until(v1alpha1.PhaseComplete)
	if w.revision("a") == first {
		t.Error("two images have one revision")
	}
}

func TestARecordThatCannotBeReadIsAnError(t *testing.T) {
	live := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{contract.RolloutAnnotation: "{"}}}
	_, err := Decide(Input{Names: names, Classes: []Class{{Rendered: &appsv1.DaemonSet{}, Live: live}}})
	if err == nil || !strings.Contains(err.Error(), "DaemonSet a") {
		t.Errorf("error %v", err)
	}
}

func TestAPodThatIsEndingCountsAsUnderWay(t *testing.T) {
	w := installed(t, 6)
	w.change("v2", func(s *v1alpha1.Rollout) { s.Canary = &v1alpha1.Canary{Nodes: ptr.To[int32](0)} })
	w.decide()
	for _, node := range []string{"a-03", "a-05"} {
		w.classes["a"].pods[node].DeletionTimestamp = ptr.To(metav1.NewTime(w.now))
	}
	if got := w.decide().Replace; len(got) > 0 {
		t.Errorf("%d more pods are replaced while 2 end", len(got))
	}
	if got := w.last.Status.Updating; !slices.Equal(got, []string{"a-03", "a-05"}) {
		t.Errorf("updating %v", got)
	}
}

func TestAReadyPluginOfARunningPodSaysSo(t *testing.T) {
	p := plugin{pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}}}
	p.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{LastTerminationState: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{Message: "socket in use"}}}}
	if reason, words := p.words(time.Minute); reason != v1alpha1.ProblemNotReady || !strings.Contains(words, "socket in use") {
		t.Errorf("%s: %s", reason, words)
	}
}
