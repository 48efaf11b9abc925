package contest

import (
	"testing"
	"time"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// fight has another program undo every repair at once, and returns how often contents were applied within a time.
func fight(h History, contents string, period time.Duration) (after History, applied int) {
	for now := noon; now.Before(noon.Add(period)); {
		if wait := h.Wait(contents, now); wait > 0 {
			now = now.Add(wait)
			continue
		}
		h = h.Apply(contents, now)
		applied++
		now = now.Add(time.Millisecond)
	}
	return h, applied
}

func TestAFightIsNotFoughtAtSpeed(t *testing.T) {
	h, applied := fight(History{}, "a", time.Hour)
	if applied > 40 {
		t.Errorf("applied %d times in an hour", applied)
	}
	if applied < 20 {
		t.Errorf("applied %d times in an hour; it is not to give up", applied)
	}
	if !h.IsContested(noon.Add(time.Hour)) {
		t.Errorf("%+v is not contested", h)
	}
}

func TestHandEditsArePutBackAtOnce(t *testing.T) {
	h := History{}.Apply("a", noon)
	for edit := range patience {
		now := noon.Add(time.Duration(edit) * time.Second)
		if wait := h.Wait("a", now); wait != 0 {
			t.Errorf("edit %d waits %s", edit, wait)
		}
		h = h.Apply("a", now)
	}
	if h.IsContested(noon) {
		t.Error("some edits by hand make no contest")
	}
	if wait := h.Wait("a", noon.Add(Forgotten+time.Minute)); wait != 0 {
		t.Errorf("a later edit waits %s", wait)
	}
}

func TestOtherContentsDoNotWait(t *testing.T) {
	h, _ := fight(History{}, "a", time.Hour)
	now := noon.Add(time.Hour)
	if wait := h.Wait("b", now); wait != 0 {
		t.Errorf("a change of the spec waits %s", wait)
	}
	if h = h.Apply("b", now); h.Repairs != 0 || h.IsContested(now) {
		t.Errorf("%+v has not begun anew", h)
	}
}

func TestAFightThatEndedIsForgotten(t *testing.T) {
	h, _ := fight(History{}, "a", time.Hour)
	end := h.Last
	if h.IsContested(end.Add(Forgotten)) {
		t.Error("it is told for ever")
	}
	if !h.IsContested(end.Add(longestPause)) {
		t.Error("it is not told while the operator waits")
	}
}

func TestAClockThatGoesBackDoesNotMakeThePauseLonger(t *testing.T) {
	h, _ := fight(History{}, "a", time.Hour)
	if wait := h.Wait("a", noon); wait > longestPause {
		t.Errorf("waits %s", wait)
	}
}
