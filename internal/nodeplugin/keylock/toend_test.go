package keylock

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatRunsToItsEndKeepsItsLockWhoeverWaits(t *testing.T) {
	for name, c := range map[string]struct {
		waits time.Duration // the caller, while f takes a minute
		want  error
	}{
		"the caller waits":     {time.Hour, errDone},
		"the caller has to go": {time.Second, context.DeadlineExceeded},
		"the caller is gone":   {0, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var locks Lock
				unlock, _ := locks.TryLock("a")
				ctx, cancel := context.WithTimeout(t.Context(), c.waits)
				defer cancel()
				var ran atomic.Bool
				err := RunToEnd(ctx, slog.New(slog.DiscardHandler), "a test", unlock, func(ctx context.Context) error {
					ran.Store(true)
					time.Sleep(time.Minute)
					return errors.Join(ctx.Err(), errDone)
				})
				if !errors.Is(err, c.want) || ran.Load() != (c.waits > 0) {
					t.Errorf("it ran: %v, %v", ran.Load(), err)
				}
				again, free := locks.TryLock("a")
				if free != (c.waits != time.Second) {
					t.Errorf("the lock is free when the caller goes: %v", free)
				}
				if free {
					again()
				}
				time.Sleep(time.Hour)
				if _, free := locks.TryLock("a"); !free {
					t.Error("the lock stays")
				}
			})
		})
	}
}

var errDone = errors.New("done")

func TestAPanicInWhatRunsToItsEndFreesTheLock(t *testing.T) {
	var locks Lock
	unlock, _ := locks.TryLock("a")
	err := RunToEnd(t.Context(), slog.New(slog.DiscardHandler), "a test", unlock, func(context.Context) error { panic("oh no") })
	if _, free := locks.TryLock("a"); err == nil || !free {
		t.Errorf("the lock is free: %v; %v", free, err)
	}
}
