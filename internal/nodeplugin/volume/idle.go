package volume

import (
	"math"
	"slices"
	"time"
)

// idle holds since when things have been out of use. It is a grace period and no record: a new process waits again.
type idle map[string]time.Time

// update records what is out of use now and drops everything else.
func (i idle) update(unused []string, now time.Time) {
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

// ripe reports whether name has been out of use for the whole grace period.
func (i idle) ripe(name string, now time.Time, after time.Duration) bool {
	since, known := i[name]
	return known && now.Sub(since) >= after
}

// remaining returns how long name has to stay out of use until it is ripe, and at least a moment while it is not.
func (i idle) remaining(name string, now time.Time, after time.Duration) time.Duration {
	if i.ripe(name, now, after) {
		return 0
	}
	return max(i[name].Add(after).Sub(now), moment)
}

func (i idle) forget(name string) { delete(i, name) }

// moment is the least time between two tries.
const moment = 5 * time.Second

// next returns the time until something is ripe, and at least a moment: what could not be released at once is tried again, but
// not in a loop.
func (i idle) next(now time.Time, after time.Duration) time.Duration {
	next := time.Duration(math.MaxInt64)
	for _, since := range i {
		next = min(next, since.Add(after).Sub(now))
	}
	return max(next, moment)
}
