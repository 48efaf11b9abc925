package recheck

import (
	"testing"
	"time"
)

func TestNeverIsLaterThanAnyTime(t *testing.T) {
	for _, c := range []struct{ a, b, want time.Duration }{
		{0, 0, 0}, {0, time.Second, time.Second}, {time.Second, 0, time.Second}, {time.Second, time.Minute, time.Second}, {time.Minute, time.Second, time.Second},
	} {
		if got := Sooner(c.a, c.b); got != c.want {
			t.Errorf("of %s and %s: %s, want %s", c.a, c.b, got, c.want)
		}
	}
}
