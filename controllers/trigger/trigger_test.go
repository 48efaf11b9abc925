package trigger

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func TestWhatHasLongFailedIsTriedAgainWithinHalfAMinute(t *testing.T) {
	limiter := OneAtATime().RateLimiter
	for range 1000 {
		if wait := limiter.When(reconcile.Request{}); wait.Seconds() > 30 {
			t.Fatalf("tried again after %s", wait)
		}
	}
}

// The reconcilers' fields have no locks.
func TestOneObjectIsReconciledAtATime(t *testing.T) {
	if most := OneAtATime().MaxConcurrentReconciles; most != 1 {
		t.Errorf("%d objects are reconciled at the same time", most)
	}
}
