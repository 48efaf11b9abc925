package volume

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recoverpanic"
)

// makeAtOnce is how many linked trees, and how many copies, are made at a time, so that one large image does not keep the others waiting.
const makeAtOnce = 2

// maker makes what takes longer than a call may, one of a name at a time.
type maker struct {
	log   *slog.Logger
	what  string        // what it makes, for people
	limit time.Duration // ends the making of one
	turns *semaphore.Weighted

	mu   sync.Mutex
	jobs map[string]*job
}

// job is something that is being made. err is valid when done is closed.
type job struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func newMaker(log *slog.Logger, what string, limit time.Duration) *maker {
	return &maker{log: log, what: what, limit: limit, turns: semaphore.NewWeighted(makeAtOnce), jobs: map[string]*job{}}
}

// do waits until work has ended, which starts unless it is under way for the name. It goes on when ctx ends, and the next call waits for
// its end.
func (m *maker) do(ctx context.Context, name string, work func(context.Context) error) error {
	running := m.start(ctx, name, work)
	select {
	case <-running.done:
		return running.err
	case <-ctx.Done():
		return fmt.Errorf("%s is still being made; the next try waits for it: %w", m.what, ctx.Err())
	}
}

func (m *maker) start(ctx context.Context, name string, work func(context.Context) error) *job {
	m.mu.Lock()
	defer m.mu.Unlock()
	if running, ok := m.jobs[name]; ok {
		return running
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.limit)
	started := &job{cancel: cancel, done: make(chan struct{})}
	m.jobs[name] = started
	go func() {
		defer cancel()
		started.err = recoverpanic.Guard(m.log, "the making of "+m.what, func() error { return work(ctx) })
		m.mu.Lock()
		delete(m.jobs, name)
		m.mu.Unlock()
		close(started.done)
	}()
	return started
}

// stop ends the making of a name, if it is under way, and waits until nothing is written any more.
func (m *maker) stop(ctx context.Context, name string) error {
	m.mu.Lock()
	running, ok := m.jobs[name]
	m.mu.Unlock()
	if !ok {
		return nil
	}
	running.cancel()
	select {
	case <-running.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting until %s is not made any more: %w", m.what, ctx.Err())
	}
}

// inTurn calls work when it is a maker's turn for it. A shared lock of the tree keeps its layers pinned from now on.
func (n *Node) inTurn(ctx context.Context, m *maker, tree string, work func() error) error {
	release, err := n.trees.Share(ctx, tree)
	if err != nil {
		return err
	}
	defer release()
	if err := m.turns.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("%s waits for those of other volumes: %w", m.what, err)
	}
	defer m.turns.Release(1)
	return work()
}
