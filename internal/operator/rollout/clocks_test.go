package rollout

import (
	"fmt"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// skews are how far the operator's clock, and the kubelets', are ahead of the API server's.
func skews() [][2]time.Duration {
	var out [][2]time.Duration
	for _, operator := range []time.Duration{-24 * time.Hour, -10 * time.Minute, 0, 10 * time.Minute, 24 * time.Hour} {
		for _, kubelet := range []time.Duration{-10 * time.Minute, 0, 10 * time.Minute} {
			out = append(out, [2]time.Duration{operator, kubelet})
		}
	}
	return out
}

func underEverySkew(t *testing.T, test func(w *world)) {
	for _, skew := range skews() {
		t.Run(fmt.Sprintf("operator %s, kubelets %s", skew[0], skew[1]), func(t *testing.T) {
			w := newWorld(t, map[string]int{"a": 0})
			w.skew, w.kubeletSkew = skew[0], skew[1]
			test(w)
		})
	}
}

// install has nodes with v1 that joined this very moment.
func (w *world) install(nodes int) {
	w.Helper()
	for i := range nodes {
		w.join("a", fmt.Sprintf("a-%02d", i))
	}
	w.until(v1alpha1.PhaseComplete)
}

// took returns how long it takes until something is so.
func (w *world) took(what string, is func() bool) time.Duration {
	w.Helper()
	start := w.now
	w.untilThat(what, is)
	return w.now.Sub(start)
}

func (w *world) wantBetween(what string, got, least, most time.Duration) {
	w.Helper()
	if got < least || got > most {
		w.Errorf("%s took %s, want %s to %s", what, got, least, most)
	}
}

func TestNoClockSkipsOrProlongsTheHealthGate(t *testing.T) {
	underEverySkew(t, func(w *world) {
		w.install(5)
		w.change("v2")
		w.wantBetween("the canary", w.took("a first wave", func() bool { return w.count("v2") > 1 }), 30*time.Second, 40*time.Second)
		w.wantBetween("two waves", w.took("completion", func() bool { return w.last.Status.Phase == v1alpha1.PhaseComplete }), 60*time.Second, 75*time.Second)
	})
}

func TestNoClockTakesAChangeBackTooSoonOrNever(t *testing.T) {
	underEverySkew(t, func(w *world) {
		w.install(3)
		w.change("v2")
		w.bad = on("v2")
		w.wantBetween("the failure", w.took("a failure", func() bool { return w.last.Status.Failure != nil }), 300*time.Second, 310*time.Second)
		w.until(v1alpha1.PhaseRolledBack)
		w.wantImages("v1", "v1", "v1")
	})
}

func TestANodePluginThatStartsSlowlyStillHasToProveItself(t *testing.T) {
	underEverySkew(t, func(w *world) {
		w.install(3)
		w.change("v2")
		w.bad = on("v2")
		for range 100 {
			w.decide()
		}
		w.bad = on("nothing")
		w.wantBetween("the canary", w.took("a first wave", func() bool { return w.count("v2") > 1 }), 30*time.Second, 40*time.Second)
	})
}

func TestAnOperatorWithAnotherClockLetsTheCanaryProveItself(t *testing.T) {
	underEverySkew(t, func(w *world) {
		skew := w.skew
		w.skew = 0
		w.install(3)
		w.change("v2")
		w.untilThat("an updated canary", func() bool { return w.count("v2") == 1 })
		w.decide()
		w.last, w.skew = Decision{}, skew // What starts anew has seen nothing.
		w.wantBetween("the canary", w.took("a first wave", func() bool { return w.count("v2") > 1 }), 30*time.Second, 40*time.Second)
		w.until(v1alpha1.PhaseComplete)
	})
}

func TestANodeThatJoinsAndFailsTellsNothingByAnyClock(t *testing.T) {
	underEverySkew(t, func(w *world) {
		w.install(4)
		w.change("v2")
		w.untilThat("an updated canary", func() bool { return w.count("v2") == 1 })
		w.join("a", "a-99")
		w.bad = on("v2", "a-99")
		w.until(v1alpha1.PhaseComplete)
		for range 400 {
			w.decide()
		}
		w.wantPhase(v1alpha1.PhaseComplete)
		if got := w.count("v2"); got != 5 {
			w.Errorf("images %v", w.images())
		}
	})
}

func TestNothingIsRememberedAtRest(t *testing.T) {
	w := installed(t, 3)
	w.decide()
	if len(w.last.Seen) != 0 {
		t.Errorf("at rest, the operator remembers %d pods", len(w.last.Seen))
	}
	w.change("v2")
	w.decide()
	if len(w.last.Seen) == 0 {
		t.Error("during a rollout, the operator remembers nothing")
	}
}

func TestAFlapBetweenTwoLooksStartsTheProofAnew(t *testing.T) {
	w := installed(t, 3)
	w.change("v2")
	w.untilThat("an updated canary", func() bool { return w.count("v2") == 1 })
	for range 20 {
		w.decide()
	}
	canary := w.classes["a"].pods["a-00"]
	w.ready(canary, false)
	w.ready(canary, true)
	w.wantBetween("the canary", w.took("a first wave", func() bool { return w.count("v2") > 1 }), 30*time.Second, 40*time.Second)
}
