package controllers

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestWhatHasLongFailedIsTriedAgainWithinHalfAMinute(t *testing.T) {
	limiter := backoff().RateLimiter
	for range 1000 {
		if wait := limiter.When(reconcile.Request{}); wait.Seconds() > 30 {
			t.Fatalf("tried again after %s", wait)
		}
	}
}
