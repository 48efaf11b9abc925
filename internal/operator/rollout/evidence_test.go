package rollout

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// allAway has every node of a world not report for a while, as when the way between nodes and API server is cut.
func (w *world) allAway(lasts time.Duration) {
	w.Helper()
	for _, c := range w.classes {
		for i := range c.nodes {
			c.nodes[i].Away = true
		}
	}
	for range lasts / time.Second {
		w.decide()
	}
	for _, c := range w.classes {
		for i := range c.nodes {
			c.nodes[i].Away, c.nodes[i].Back = false, w.now
		}
	}
}

// notReady has the node plugins with an image fail on every node for a while.
func (w *world) notReady(image string, lasts time.Duration) {
	w.Helper()
	bad := w.bad
	w.bad = func(node, img string) bool { return img == image || bad(node, img) }
	w.live()
	for range lasts / time.Second {
		w.decide()
	}
	w.bad = bad
	w.live()
}

func (w *world) exchange(class string, i int) {
	c := w.classes[class]
	delete(c.pods, c.nodes[i].Name)
	c.nodes = append(c.nodes[:i:i], c.nodes[i+1:]...)
	w.join(class, "a-new-"+w.now.Format("150405"))
}

// wantRolledBack lets time pass, and wants a change to have been rolled back, and that no more nodes had it at a time than
// the canaries.
func (w *world) wantRolledBack() {
	w.Helper()
	w.until(v1alpha1.PhaseRolledBack)
	w.forAWhile()
	w.wantPhase(v1alpha1.PhaseRolledBack)
	if got := w.count("v1"); got != len(w.images()) {
		w.Errorf("images %v, want v1 everywhere", w.images())
	}
}

func TestNothingBecomesGoodByTheAbsenceOfWhatCouldSpeakAgainstIt(t *testing.T) {
	tests := map[string]struct {
		nodes   int
		happens func(w *world)
	}{
		"all nodes are away for a look":  {10, func(w *world) { w.allAway(time.Second) }},
		"all nodes are away for long":    {10, func(w *world) { w.allAway(20 * time.Minute) }},
		"a single node reboots":          {1, func(w *world) { w.reboot(0, 2*time.Minute) }},
		"a single node is away for long": {1, func(w *world) { w.allAway(20 * time.Minute) }},
		"the earlier ones flap":          {10, func(w *world) { w.notReady("v1", time.Second) }},
		"one half is away, the other goes": {4, func(w *world) {
			w.node("a", 2).Away = true
			w.notReady("v1", 3*time.Second)
			w.node("a", 2).Away = false
		}},
		"the nodes are exchanged": {3, func(w *world) {
			for range 3 {
				w.exchange("a", 0)
				w.decide()
			}
		}},
		"all nodes go before others come": {3, func(w *world) {
			w.classes["a"].nodes, w.classes["a"].pods = nil, nil
			w.decide()
			w.classes["a"].pods = newWorld(t, map[string]int{"a": 0}).classes["a"].pods
			w.decide()
			w.join("a", "a-new")
		}},
	}
	for name, test := range tests {
		for when, canaryIsThere := range map[string]bool{"as the change begins": false, "while the canary is at work": true} {
			t.Run(name+" "+when, func(t *testing.T) {
				w := installed(t, test.nodes)
				w.bad = on("v2")
				w.change("v2")
				w.decide()
				if canaryIsThere {
					w.untilThat("a canary", func() bool { return w.count("v2") == 1 })
				}
				test.happens(w)
				w.wantRolledBack()
			})
		}
	}
}

func TestTheCanaryAloneProvesNothingForNodesThatAreAway(t *testing.T) {
	for name, lasts := range map[string]time.Duration{"for a look": time.Second, "for long": time.Hour / 4} {
		t.Run(name, func(t *testing.T) {
			w := installed(t, 10)
			w.bad = func(node, image string) bool { return image == "v2" && node != "a-00" }
			w.change("v2")
			w.until(v1alpha1.PhaseUpdating)
			for i := 1; i < 10; i++ {
				w.node("a", i).Away = true
			}
			for range lasts / time.Second {
				w.decide()
				w.wantPhase(v1alpha1.PhaseUpdating)
			}
			if got := w.last.Status.Message; !strings.Contains(got, "waiting for a-01") {
				t.Errorf("message %q does not say what the change waits for", got)
			}
			for i := 1; i < 10; i++ {
				w.node("a", i).Away, w.node("a", i).Back = false, w.now
			}
			w.wantRolledBack()
		})
	}
}

// More nodes than may be unavailable are never left to try what the others already call good.
func TestAFewDeadNodesHoldUpNothing(t *testing.T) {
	w := installed(t, 10)
	w.node("a", 3).Away, w.node("a", 7).Away = true, true
	w.change("v2")
	w.until(v1alpha1.PhaseComplete)
	w.change("v3")
	w.node("a", 8).Away = true
	w.forAWhile()
	w.forAWhile()
	w.wantPhase(v1alpha1.PhaseUpdating)
	if got := w.count("v3"); got != 7 {
		t.Errorf("images %v", w.images())
	}
}

func TestAChangeThatCuresWhatIsBrokenEverywhereArrives(t *testing.T) {
	for name, incurable := range map[string][]string{"everywhere": nil, "but for the first nodes": {"a-00", "a-01"}} {
		t.Run(name, func(t *testing.T) {
			w := installed(t, 8)
			w.bad = func(node, image string) bool {
				return image == "v1" || len(incurable) > 0 && on("v2", incurable...)(node, image)
			}
			w.forAWhile()
			w.change("v2")
			w.until(v1alpha1.PhaseComplete)
			w.forAWhile()
			w.wantPhase(v1alpha1.PhaseComplete)
			if got := w.count("v2"); got != 8 {
				t.Errorf("images %v", w.images())
			}
		})
	}
}

func TestAClassThatWasBrokenBeforeTakesNoChangeBack(t *testing.T) {
	w := newWorld(t, map[string]int{"a": 5, "b": 1})
	w.until(v1alpha1.PhaseComplete)
	w.bad = func(node, _ string) bool { return node == "b-00" }
	w.forAWhile()
	w.change("v2")
	w.untilThat("v2 on every node", func() bool { return w.count("v2") == 6 })
	w.forAWhile()
	w.wantPhase(v1alpha1.PhaseUpdating) // It is not good before it works in class b.
	if w.last.Status.Failure != nil || !strings.Contains(w.last.Status.Message, "b-00") {
		t.Errorf("status %+v", w.last.Status)
	}
	w.bad = on("nothing")
	w.until(v1alpha1.PhaseComplete)
}

// Where a class has no evidence yet, the change is good in no other class either: it would stay there after it failed in that one.
func TestAChangeBecomesGoodInNoClassBeforeItWorksInEveryOne(t *testing.T) {
	w := newWorld(t, map[string]int{"a": 5, "b": 1})
	w.until(v1alpha1.PhaseComplete)
	w.node("b", 0).Away = true
	w.bad = on("v2", "b-")
	w.change("v2")
	w.untilThat("v2 on every node of class a", func() bool { return w.count("v2") == 5 })
	w.forAWhile()
	w.wantPhase(v1alpha1.PhaseUpdating)
	w.node("b", 0).Away, w.node("b", 0).Back = false, w.now
	w.wantRolledBack()
}

func TestARollbackStopsWhereTheEarlierFormFails(t *testing.T) {
	for _, most := range []int32{1, 2, 20} {
		w := installed(t, 20)
		w.change("v2", func(s *v1alpha1.Rollout) { s.MaxUnavailable = ptr.To(intstr.FromInt32(most)) })
		had := map[string]bool{}
		w.bad = func(node, image string) bool {
			if image == "v2" {
				had[node] = true
				return node == "a-12"
			}
			return had[node]
		}
		w.until(v1alpha1.PhaseRollingBack)
		w.forAWhile()
		w.mostDown = 0
		w.forAWhile()
		if w.mostDown != 1 || w.last.Status.Phase != v1alpha1.PhaseRollingBack {
			t.Errorf("maxUnavailable %d: %d nodes are down, phase %s; want the one on which the change failed, and no more", most, w.mostDown, w.last.Status.Phase)
		}
		if got := w.last.Stopped; !strings.Contains(got, "neither works there") || !strings.Contains(got, "node a-12") {
			t.Errorf("the decision says %q", got)
		}
		w.bad = on("v2", "a-12") // The image is back.
		w.until(v1alpha1.PhaseRolledBack)
		if got := w.count("v1"); got != 20 || w.last.Stopped != "" {
			t.Errorf("images %v, stopped %q", w.images(), w.last.Stopped)
		}
	}
}

func TestNodesThatWereBrokenBeforeDoNotStopARollback(t *testing.T) {
	w := installed(t, 8)
	broken := on("v1", "a-05", "a-06", "a-07")
	w.bad = broken
	w.forAWhile()
	w.change("v2")
	w.until(v1alpha1.PhaseUpdating)
	w.bad = func(node, image string) bool { return broken(node, image) || on("v2", "a-03")(node, image) }
	w.until(v1alpha1.PhaseRolledBack)
	if w.last.Stopped != "" || w.count("v1") != 8 {
		t.Errorf("stopped %q, images %v", w.last.Stopped, w.images())
	}
}

func TestAChangeThatAPersonTakesBackStaysWithinTheBudget(t *testing.T) {
	w := installed(t, 10)
	broken := on("v1", "a-08", "a-09")
	w.bad = broken
	w.forAWhile()
	w.change("v2")
	w.untilThat("six updated nodes", func() bool { return w.count("v2") >= 6 })
	had := map[string]bool{}
	w.bad = func(node, image string) bool {
		had[node] = had[node] || image == "v2"
		return broken(node, image) || image == "v1" && had[node]
	}
	w.live()
	before := w.down()
	w.change("v1")
	w.forAWhile()
	w.forAWhile()
	if got := w.down() - before; got > 2 {
		t.Errorf("%d nodes more are down, want at most maxUnavailable, 2: %v", got, w.images())
	}
	w.bad = broken
	w.untilThat("v1 on every node", func() bool { return w.count("v1") == 10 })
}

func TestSelectedCanariesThatAreAwayProveNothing(t *testing.T) {
	w := installed(t, 10)
	w.node("a", 9).Labels = map[string]string{"pool": "canary"}
	w.node("a", 9).Away = true
	w.change("v2", selector)
	w.forAWhile()
	w.wantPhase(v1alpha1.PhaseCanary)
	if got := w.count("v2"); got != 0 {
		t.Errorf("%d other nodes have the change", got)
	}
	if got := w.last.Status.Message; !strings.Contains(got, "a-09") || !strings.Contains(got, "does not report") {
		t.Errorf("message %q does not say whom it waits for", got)
	}
	w.node("a", 8).Labels = map[string]string{"pool": "canary"} // Another canary will do.
	w.until(v1alpha1.PhaseComplete)
}

func TestANewNodeOnWhichNothingElseSpeaksForTheChangeTakesItBack(t *testing.T) {
	w := installed(t, 3)
	w.change("v2")
	w.bad = on("v2", "a-new")
	w.until(v1alpha1.PhaseUpdating)
	for range 3 {
		w.exchange("a", 0)
		w.decide()
	}
	w.until(v1alpha1.PhaseRolledBack)
	if got := w.last.Status.Failure.Node; !strings.HasPrefix(got, "a-new") {
		t.Errorf("it failed on %s", got)
	}
}

func TestAChangeBecomesGoodOnExchangedNodes(t *testing.T) {
	w := installed(t, 3)
	w.change("v2")
	w.untilThat("a canary", func() bool { return w.count("v2") == 1 })
	for range 3 {
		w.exchange("a", 0)
		w.decide()
	}
	w.until(v1alpha1.PhaseComplete)
}

func TestEarlierNodePluginsThatMayComeBackAreNotDecided(t *testing.T) {
	w := installed(t, 10)
	w.bad = func(node, image string) bool { return image == "v2" && node != "a-00" }
	w.change("v2")
	w.untilThat("a canary", func() bool { return w.count("v2") == 1 })
	for range 25 {
		w.decide()
	}
	w.notReady("v1", 10*time.Second) // As the canary has proved itself.
	w.until(v1alpha1.PhaseRolledBack)
}

func TestARollbackStopsAlsoInItsMidst(t *testing.T) {
	w := installed(t, 10)
	w.change("v2", func(s *v1alpha1.Rollout) {
		s.MaxUnavailable, s.MinReadySeconds = ptr.To(intstr.FromInt32(3)), ptr.To[int32](200)
	})
	had := map[string]bool{}
	w.bad = func(node, image string) bool {
		had[node] = had[node] || image == "v2"
		return image == "v2" && node == "a-06" || image == "v1" && had[node] && node == "a-01"
	}
	w.untilThat("a stop", func() bool { return w.last.Stopped != "" })
	has := w.count("v2")
	w.forAWhile()
	if got := w.count("v2"); got != has || got == 0 {
		t.Errorf("%d nodes keep what works, later %d", has, got)
	}
}
