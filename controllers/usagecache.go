package controllers

import (
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// usageKey is what the API server was asked: which pods on a node keep it in its class, or which pods of the cluster use
// volumes of some CSI driver names.
type usageKey struct {
	driver      types.UID
	generation  int64
	node, class string
	// names are joined by commas, which no name has.
	names string
}

// usageEntry is an answer.
type usageEntry struct {
	// users are the pods, as namespace/name, by their nodes.
	users map[string]string
	// until is when to ask again.
	until time.Time
}

// usageCache caches for a while which pods use volumes. What waits for them is reconciled whenever anything changes, and
// listing all pods each time is expensive. Waiting a little longer than necessary is safe; negative answers are never cached.
// Drivers are reconciled one at a time, so it needs no lock.
type usageCache map[usageKey]usageEntry

// get returns the last answer, and for how much longer it is valid: 0 if it is time to ask again.
func (u usageCache) get(key usageKey, now time.Time) (users map[string]string, left time.Duration) {
	last := u[key]
	return last.users, max(0, last.until.Sub(now))
}

// put caches an answer, and drops answers that have expired and were not asked for since.
func (u usageCache) put(key usageKey, users map[string]string, now time.Time, period time.Duration) {
	maps.DeleteFunc(u, func(_ usageKey, old usageEntry) bool { return now.Sub(old.until) > period })
	delete(u, key)
	if len(users) > 0 {
		u[key] = usageEntry{users: users, until: now.Add(period)}
	}
}
