package recent

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestManyWhoAskCostOneLook(t *testing.T) {
	now, asked := time.Unix(1000, 0), 0
	a := New(5*time.Second, func(context.Context) (int, error) {
		asked++
		return asked, nil
	})
	a.now = func() time.Time { return now }
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			if got, err := a.Get(t.Context()); got != 1 || err != nil {
				t.Errorf("%d, %v", got, err)
			}
		})
	}
	callers.Wait()
	now = now.Add(4999 * time.Millisecond)
	if got, _ := a.Get(t.Context()); got != 1 {
		t.Errorf("answer %d before the first one is old", got)
	}
	now = now.Add(time.Millisecond)
	if got, _ := a.Get(t.Context()); got != 2 {
		t.Errorf("answer %d after the first one is old", got)
	}
}

func TestAFailureIsKeptAsLong(t *testing.T) {
	now, asked, failure := time.Unix(1000, 0), 0, errors.New("no runtime")
	a := New(time.Second, func(context.Context) (int, error) {
		asked++
		return 0, failure
	})
	a.now = func() time.Time { return now }
	for range 3 {
		if _, err := a.Get(t.Context()); !errors.Is(err, failure) {
			t.Error(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times within the second", asked)
	}
}

func TestACallerThatGoesDoesNotTakeTheAnswerAlong(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	a := New(time.Hour, func(ctx context.Context) (int, error) {
		leave()
		return 7, ctx.Err()
	})
	if got, err := a.Get(gone); got != 7 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}

func TestACallerThatWaitsKeepsItsDeadline(t *testing.T) {
	asking, end := make(chan struct{}), make(chan struct{})
	a := New(time.Hour, func(context.Context) (int, error) {
		close(asking)
		<-end
		return 0, nil
	})
	var first sync.WaitGroup
	first.Go(func() { _, _ = a.Get(t.Context()) })
	<-asking
	late, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := a.Get(late); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	close(end)
	first.Wait()
}
