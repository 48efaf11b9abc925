// Package poll waits in tests for what takes its time.
package poll

import (
	"testing"
	"time"
)

const pause = 200 * time.Millisecond

// Until repeats check until it succeeds; the last failure is the test's.
func Until(t testing.TB, what string, within time.Duration, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(pause) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) || t.Context().Err() != nil {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
	}
}
