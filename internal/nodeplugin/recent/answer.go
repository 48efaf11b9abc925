package recent

import (
	"context"
	"time"
)

// Answer is the latest answer to one question. Its methods may be called at the same time.
type Answer[T any] struct {
	ask  func(context.Context) (T, error)
	keep time.Duration
	now  func() time.Time

	turn  chan struct{} // held by the caller that looks at what follows, or asks
	at    time.Time     // when the answer came; zero before the first
	value T
	err   error
}

// New returns an Answer that asks again once the latest one is older than keep. Ask has to end by itself: it does not see
// the end of the context of the caller for whom it runs, because others get its answer, too.
func New[T any](keep time.Duration, ask func(context.Context) (T, error)) *Answer[T] {
	return &Answer[T]{ask: ask, keep: keep, now: time.Now, turn: make(chan struct{}, 1)}
}

// Get returns an answer that is at most so old as New was told, failures included. Those who call while one asks wait for
// its answer, until their context ends.
func (a *Answer[T]) Get(ctx context.Context) (T, error) {
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
	defer func() { <-a.turn }()
	if a.at.IsZero() || a.now().Sub(a.at) >= a.keep {
		a.value, a.err = a.ask(context.WithoutCancel(ctx))
		a.at = a.now()
	}
	return a.value, a.err
}
