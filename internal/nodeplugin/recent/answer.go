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

	turn  chan struct{} // held by the caller that uses the fields below, or asks
	at    time.Time     // when the answer came; zero before the first
	value T
	err   error
}

// New returns an Answer that asks again once the latest one is older than keep. Ask must bound its own time: its context does not
// end with that of the caller, because other callers get its answer, too.
func New[T any](keep time.Duration, ask func(context.Context) (T, error)) *Answer[T] {
	return &Answer[T]{ask: ask, keep: keep, now: time.Now, turn: make(chan struct{}, 1)}
}

// Get returns an answer that is no older than New allows; failures are answers, too. Callers that come while another one asks
// wait for its answer, until their context ends.
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
