package rollout

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// refuses has the API server take no pod with an image.
func refuses(img string) func(node, image string) bool {
	return func(_, image string) bool { return image == img }
}

func TestPodsThatCannotBeCreatedAreAFailure(t *testing.T) {
	w := installed(t, 10)
	w.refused = refuses("v2")
	w.mostDown = 0
	w.change("v2")
	w.wantBetween("the failure", w.took("a failure", func() bool { return w.last.Status.Failure != nil }), 300*time.Second, 310*time.Second)
	failure := w.last.Status.Failure
	if failure.Node != "a-00" || failure.Reason != v1alpha1.ProblemNotCreated || !strings.Contains(failure.Message, "describe daemonset a") {
		t.Errorf("failure %+v", failure)
	}
	w.until(v1alpha1.PhaseRolledBack)
	if got := w.count("v1"); got != 10 || w.mostDown != 1 {
		t.Errorf("%d nodes have v1, and up to %d were down, want 10 and 1", got, w.mostDown)
	}
}

func TestANodeThatWaitsForItsPodIsNamed(t *testing.T) {
	w := installed(t, 3)
	w.refused = refuses("v2")
	w.change("v2")
	for range 20 {
		w.decide()
	}
	if got := w.last.Status; got.Nodes != 3 || got.Updated != 0 || len(got.Updating) != 1 || !strings.Contains(got.Message, "0 of 3 nodes") {
		t.Errorf("status %+v", got)
	}
	if len(w.last.Absent) > 0 || w.last.Recheck == 0 {
		t.Errorf("within the deadline, absent %v, next look in %s", w.last.Absent, w.last.Recheck)
	}
}

func TestWhereNeitherFormCanBeCreatedTheRollbackStops(t *testing.T) {
	w := installed(t, 10)
	w.refused = func(string, string) bool { return true }
	w.change("v2")
	w.untilThat("a stop", func() bool { return w.last.Stopped != "" })
	w.mostDown = 0
	w.forAWhile()
	if got := w.last.Absent; w.mostDown != 1 || len(got) != 1 || got[0].Node != "a-00" {
		t.Errorf("%d nodes are down, absent %v", w.mostDown, got)
	}
	w.refused = refuses("v2")
	w.until(v1alpha1.PhaseRolledBack)
}

// Neither a first installation nor what happens to a single pod later is a change that could be rolled back; the nodes are
// named all the same, after the deadline and not before.
func TestNodesWithoutAPodAreNamedRolloutOrNot(t *testing.T) {
	first := newWorld(t, map[string]int{"a": 3})
	later := installed(t, 3)
	delete(later.classes["a"].pods, "a-01")
	for name, test := range map[string]struct {
		w     *world
		nodes int
	}{"a first installation": {first, 3}, "a pod that is deleted": {later, 1}} {
		t.Run(name, func(t *testing.T) {
			w := test.w
			w.refused = refuses("v1")
			w.decide()
			for range 298 {
				if w.decide(); len(w.last.Absent) > 0 || w.last.Recheck == 0 {
					t.Fatalf("within the deadline, absent %v, next look in %s", w.last.Absent, w.last.Recheck)
				}
			}
			for range 5 {
				w.decide()
			}
			if len(w.last.Absent) != test.nodes || w.last.Recheck != 0 {
				t.Fatalf("after the deadline, absent %v, next look in %s", w.last.Absent, w.last.Recheck)
			}
			w.refused = refuses("nothing")
			w.decide()
			w.until(v1alpha1.PhaseComplete)
			if len(w.last.Absent) > 0 || w.last.Recheck != 0 || len(w.last.Seen) > 0 {
				t.Errorf("with all pods there, absent %v, next look in %s, seen %v", w.last.Absent, w.last.Recheck, w.last.Seen)
			}
		})
	}
}

// A pod that is made, refused by its node, and made again under another name has never served.
func TestPodsThatAreMadeAgainAndAgainHaveOneDeadline(t *testing.T) {
	w := installed(t, 3)
	w.bad = on("v2")
	w.change("v2")
	w.wantBetween("the failure", w.took("a failure", func() bool {
		if pod := w.classes["a"].pods["a-00"]; image(pod.Spec) == "v2" && w.now.Second()%7 == 0 {
			delete(w.classes["a"].pods, "a-00")
			w.live()
		}
		return w.last.Status.Failure != nil
	}), 300*time.Second, 320*time.Second)
}

func TestTheControllerIsNotBlamedBeforeItKnowsTheTemplate(t *testing.T) {
	w := installed(t, 3)
	w.refused = refuses("v2")
	w.change("v2")
	w.untilThat("a missing canary", func() bool { return len(w.images()) == 2 })
	w.classes["a"].live.Generation++ // The DaemonSet controller has not seen this one.
	in := Input{Names: names, Spec: w.spec, Generation: w.generation, Now: w.now.Add(time.Hour), Seen: w.last.Seen, Classes: []Class{{
		Rendered: w.rendered("a"), Live: w.classes["a"].live, Nodes: w.classes["a"].nodes}}}
	for _, pod := range w.classes["a"].pods {
		in.Classes[0].Pods = append(in.Classes[0].Pods, pod)
	}
	decision, err := Decide(in)
	if err != nil || decision.Status.Failure != nil {
		t.Errorf("failure %+v, %v", decision.Status.Failure, err)
	}
}

// With spec.nodePlugin.tolerations, a DaemonSet leaves out nodes of its class, and only says how many.
func TestNodesThatTheDaemonSetLeavesOutAreNotMissed(t *testing.T) {
	w := newWorld(t, map[string]int{"a": 4})
	w.refused = func(node, image string) bool { return node == "a-00" || node == "a-01" || image == "v2" }
	leavesOut := func() { w.classes["a"].live.Status.DesiredNumberScheduled = 2 }
	w.untilThat("an installation", func() bool {
		leavesOut()
		return w.last.Status.Phase == v1alpha1.PhaseComplete
	})
	for range 400 {
		leavesOut()
		w.decide()
	}
	leavesOut()
	w.decide()
	if len(w.last.Absent) > 0 {
		t.Fatalf("absent %v", w.last.Absent)
	}
	w.change("v2")
	w.untilThat("a failure", func() bool {
		leavesOut()
		return w.last.Status.Failure != nil
	})
	if got := w.last.Status.Failure.Node; got != "a-02" {
		t.Errorf("the change failed on %s, want the canary a-02", got)
	}
}

func TestTheFailureHasTheDaemonSetControllersWords(t *testing.T) {
	w := installed(t, 1)
	live := w.classes["a"].live
	p := missed(Input{Names: names, Now: w.now}, w.node("a", 0), live, `Error creating: pods "a-x7k2p" is forbidden: exceeded quota: pods`)
	if reason, words := p.words(time.Minute); reason != v1alpha1.ProblemNotCreated || !strings.Contains(words, "Error creating: the pod is forbidden: exceeded quota") {
		t.Errorf("%s: %s", reason, words)
	}
	if reason, _ := (&plugin{pod: &corev1.Pod{}}).words(time.Minute); reason == v1alpha1.ProblemNotCreated {
		t.Error("a pod that is there was not created")
	}
}
