package grace

import (
	"math"
	"testing"
	"time"
)

func TestAThingIsRipeAfterItsGracePeriodOutOfUse(t *testing.T) {
	i, start := Idle{}, time.Now()
	if i.Ripe("a", start.Add(time.Hour), 0) || i.Next(start, time.Minute) != math.MaxInt64 {
		t.Error("a thing that was never out of use is ripe")
	}
	i.Update([]string{"a"}, start)
	i.Update([]string{"a", "b"}, start.Add(20*time.Second))
	for _, c := range []struct {
		name            string
		now             time.Duration
		ripe            bool
		remaining, next time.Duration
	}{
		{"a", 20 * time.Second, false, 40 * time.Second, 40 * time.Second},
		{"b", 20 * time.Second, false, time.Minute, 40 * time.Second},
		{"a", 58 * time.Second, false, Moment, Moment},
		{"a", time.Minute, true, 0, Moment},
		{"b", time.Minute, false, 20 * time.Second, Moment},
	} {
		now := start.Add(c.now)
		if ripe, left, next := i.Ripe(c.name, now, time.Minute), i.Remaining(c.name, now, time.Minute), i.Next(now, time.Minute); ripe != c.ripe || left != c.remaining || next != c.next {
			t.Errorf("%s after %s: ripe %v, in %s; something is in %s", c.name, c.now, ripe, left, next)
		}
	}
	i.Forget("a")
	if i.Ripe("a", start.Add(time.Hour), time.Minute) || !i.Ripe("b", start.Add(time.Hour), time.Minute) {
		t.Error("what was released is ripe, or what was not is not")
	}
}

func TestUseInBetweenStartsTheGracePeriodAnew(t *testing.T) {
	i, start := Idle{}, time.Now()
	i.Update([]string{"a"}, start)
	i.Update(nil, start.Add(30*time.Second))
	i.Update([]string{"a"}, start.Add(40*time.Second))
	if i.Ripe("a", start.Add(time.Minute), time.Minute) || !i.Ripe("a", start.Add(100*time.Second), time.Minute) {
		t.Error("the time of use counted as time out of use")
	}
}
