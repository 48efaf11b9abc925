package keylock

import (
	"context"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Lock is a lock for each key. The zero value is ready.
type Lock struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	places *semaphore.Weighted
	users  int // holders and waiters; guarded by Lock.mu
}

const (
	onePlace  = 1
	allPlaces = math.MaxInt64
)

// Lock locks key exclusively. It waits until ctx ends, and then returns the error of ctx.
func (k *Lock) Lock(ctx context.Context, key string) (unlock func(), err error) {
	return k.acquire(ctx, key, allPlaces)
}

// Share locks key together with other callers of Share. It waits as Lock does.
func (k *Lock) Share(ctx context.Context, key string) (unlock func(), err error) {
	return k.acquire(ctx, key, onePlace)
}

// TryLock locks key if no caller holds it now.
func (k *Lock) TryLock(key string) (unlock func(), ok bool) {
	l := k.enter(key)
	if !l.places.TryAcquire(allPlaces) {
		k.leave(key, l)
		return nil, false
	}
	return k.unlocker(key, l, allPlaces), true
}

func (k *Lock) acquire(ctx context.Context, key string, places int64) (func(), error) {
	l := k.enter(key)
	if err := l.places.Acquire(ctx, places); err != nil {
		k.leave(key, l)
		return nil, err
	}
	return k.unlocker(key, l, places), nil
}

func (k *Lock) unlocker(key string, l *keyLock, places int64) func() {
	return func() {
		l.places.Release(places)
		k.leave(key, l)
	}
}

func (k *Lock) enter(key string) *keyLock {
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

func (k *Lock) leave(key string, l *keyLock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l.users--
	if l.users == 0 {
		delete(k.held, key)
	}
}
