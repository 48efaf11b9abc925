// Package poll waits in tests for what takes its time.
package poll

import (
	"testing"
	"time"
)

// A pause is a quarter longer than the one before it: what comes soon is seen soon, and what takes long is not asked for all the time,
// which costs a process where the question is one of kubectl.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = time.Second
)

// Until repeats check until it succeeds; the last failure is the test's.
func Until(t testing.TB, what string, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for pause := firstPause; ; pause = min(pause*5/4, lastPause) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) || t.Context().Err() != nil {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		time.Sleep(pause)
	}
}
