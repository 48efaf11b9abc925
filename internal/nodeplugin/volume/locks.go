package volume

import (
	"context"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
)

// keyedLock is a lock for each key, with a context instead of waiting for ever. The zero value is ready.
type keyedLock struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	places *semaphore.Weighted
	users  int // holders and waiters; guarded by keyedLock.mu
}

const (
	onePlace  = 1
	allPlaces = math.MaxInt64
)

// lock holds key alone.
func (k *keyedLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	return k.acquire(ctx, key, allPlaces)
}

// share holds key together with others that share it.
func (k *keyedLock) share(ctx context.Context, key string) (unlock func(), err error) {
	return k.acquire(ctx, key, onePlace)
}

// tryLock holds key alone if nobody holds it now.
func (k *keyedLock) tryLock(key string) (unlock func(), ok bool) {
	l := k.enter(key)
	if !l.places.TryAcquire(allPlaces) {
		k.leave(key, l)
		return nil, false
	}
	return k.unlocker(key, l, allPlaces), true
}

func (k *keyedLock) acquire(ctx context.Context, key string, places int64) (func(), error) {
	l := k.enter(key)
	if err := l.places.Acquire(ctx, places); err != nil {
		k.leave(key, l)
		return nil, err
	}
	return k.unlocker(key, l, places), nil
}

func (k *keyedLock) unlocker(key string, l *keyLock, places int64) func() {
	return func() {
		l.places.Release(places)
		k.leave(key, l)
	}
}

func (k *keyedLock) enter(key string) *keyLock {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		k.held = map[string]*keyLock{}
	}
	l, ok := k.held[key]
	if !ok {
		l = &keyLock{places: semaphore.NewWeighted(allPlaces)}
		k.held[key] = l
	}
	l.users++
	return l
}

func (k *keyedLock) leave(key string, l *keyLock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(k.held, key)
	}
}
