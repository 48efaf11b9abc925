package contest

import "time"

const (
	// patience is how many repairs are made at once. Edits by hand cause fewer.
	patience = 10
	// Contested is how many repairs in a row make a contest that needs action.
	Contested = 12
	// firstPause and longestPause bound the pause before a repair that is not made at once; each is twice the one before.
	firstPause   = time.Second
	longestPause = 5 * time.Minute
	// Forgotten is how long after the last repair an object's repairs still count.
	Forgotten = 2 * longestPause
)

// History is what happened to one object since it was last applied with other contents.
type History struct {
	// Applied identifies the contents that the operator applied.
	Applied string
	// Repairs is how often the same contents were applied since.
	Repairs int
	// Last is when they were applied last.
	Last time.Time
}

// Wait returns how long to wait before contents are applied: 0 if they differ from before, or after few repairs.
func (h History) Wait(contents string, now time.Time) time.Duration {
	h = h.since(contents, now)
	if h.Repairs < patience {
		return 0
	}
	pause := longestPause
	if doublings := h.Repairs - patience; doublings < 16 {
		pause = min(longestPause, firstPause<<doublings)
	}
	return max(0, pause-max(0, now.Sub(h.Last)))
}

// Apply returns the history after contents were applied.
func (h History) Apply(contents string, now time.Time) History {
	if h.Applied != contents || h.isOver(now) {
		return History{Applied: contents, Last: now}
	}
	return History{Applied: contents, Repairs: h.Repairs + 1, Last: now}
}

// IsContested reports whether the object has been repaired so often that it needs action.
func (h History) IsContested(now time.Time) bool { return h.Repairs >= Contested && !h.isOver(now) }

// since returns the history as it counts for some contents now.
func (h History) since(contents string, now time.Time) History {
	if h.Applied != contents || h.isOver(now) {
		return History{}
	}
	return h
}

func (h History) isOver(now time.Time) bool { return now.Sub(h.Last) >= Forgotten }
