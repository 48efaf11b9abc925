package controllers

import (
	"maps"
	"time"
)

// sighting is an answer to the question which pods use volumes.
type sighting struct {
	// users are the pods, as namespace/name, by their nodes.
	users map[string]string
	// until is when to ask again.
	until time.Time
}

// usersSeen remembers for a while which pods use volumes, by the question. What waits for them is looked at whenever anything
// changes, and to list the pods of the cluster each time would be dear. To wait a little longer than need be is safe; that
// nothing uses a volume is never remembered. It needs no lock, because one driver is looked at after the other.
type usersSeen map[string]sighting

// recall returns what was seen last, and for how much longer that counts: 0 if it is time to ask again.
func (u usersSeen) recall(question string, now time.Time) (users map[string]string, left time.Duration) {
	last := u[question]
	return last.users, max(0, last.until.Sub(now))
}

// note remembers an answer, and forgets those to questions that nobody has asked any more since they ran out.
func (u usersSeen) note(question string, users map[string]string, now time.Time, period time.Duration) {
	maps.DeleteFunc(u, func(_ string, old sighting) bool { return now.Sub(old.until) > period })
	if delete(u, question); len(users) > 0 {
		u[question] = sighting{users: users, until: now.Add(period)}
	}
}
