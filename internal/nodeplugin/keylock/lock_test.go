package keylock

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestALockIsWaitedForNoLongerThanTheContext(t *testing.T) {
	var l Lock
	for _, hold := range []func(context.Context, string) (func(), error){l.Lock, l.Share} {
		unlock, err := hold(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := l.Lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if _, ok := l.TryLock("a"); ok {
			t.Error("a lock that is held was acquired")
		}
		unlock()
		again, err := l.Lock(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		again()
	}
	if len(l.held) != 0 {
		t.Errorf("%d keys stay", len(l.held))
	}
}

func TestOtherKeysAndSharersAreNotWaitedFor(t *testing.T) {
	var l Lock
	for _, hold := range []func() (func(), error){
		func() (func(), error) { return l.Lock(t.Context(), "a") },
		func() (func(), error) { return l.Share(t.Context(), "b") },
		func() (func(), error) { return l.Share(t.Context(), "b") },
	} {
		unlock, err := hold()
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
	}
	unlock, ok := l.TryLock("c")
	if !ok {
		t.Fatal("a free lock was not acquired")
	}
	unlock()
}
