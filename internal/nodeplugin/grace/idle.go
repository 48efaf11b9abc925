package grace

import (
	"math"
	"slices"
	"time"
)

// Idle holds since when things have been out of use, by their names. It is no record: a new process waits again. It is not safe
// for concurrent use.
type Idle map[string]time.Time

// Update records what is out of use now and drops everything else.
func (i Idle) Update(unused []string, now time.Time) {
	for name := range i {
		if !slices.Contains(unused, name) {
			delete(i, name)
		}
	}
	for _, name := range unused {
		if _, known := i[name]; !known {
			i[name] = now
		}
	}
}

// Ripe reports whether name has been out of use for the whole grace period.
func (i Idle) Ripe(name string, now time.Time, after time.Duration) bool {
	since, known := i[name]
	return known && now.Sub(since) >= after
}

// Remaining returns how long name has to stay out of use until it is ripe, and at least Moment while it is not.
func (i Idle) Remaining(name string, now time.Time, after time.Duration) time.Duration {
	if i.Ripe(name, now, after) {
		return 0
	}
	return max(i[name].Add(after).Sub(now), Moment)
}

// Forget drops name, which was released.
func (i Idle) Forget(name string) { delete(i, name) }

// Moment is the least time between two tries.
const Moment = 5 * time.Second

// Next returns the time until something is ripe, and at least Moment: what could not be released at once is tried again, but not
// in a loop.
func (i Idle) Next(now time.Time, after time.Duration) time.Duration {
	next := time.Duration(math.MaxInt64)
	for _, since := range i {
		next = min(next, since.Add(after).Sub(now))
	}
	return max(next, Moment)
}
