package volume

import (
	"context"
	"fmt"
	"sync"
)

// copies are the copies of images that are being made, by the name of their volume's directory. The zero value has none.
type copies struct {
	mu      sync.Mutex
	running map[string]*copying
}

// copying is a copy that is being made. err is valid when done is closed.
type copying struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// start has a copy made, unless it is being made already. It goes on when ctx ends.
func (c *copies) start(ctx context.Context, name string, work func(context.Context) error) *copying {
	c.mu.Lock()
	defer c.mu.Unlock()
	if running, ok := c.running[name]; ok {
		return running
	}
	if c.running == nil {
		c.running = map[string]*copying{}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), copyTimeout)
	started := &copying{cancel: cancel, done: make(chan struct{})}
	c.running[name] = started
	go func() {
		defer cancel()
		started.err = work(ctx)
		c.mu.Lock()
		delete(c.running, name)
		c.mu.Unlock()
		close(started.done)
	}()
	return started
}

// stop ends the making of a copy, if it is under way, and waits until nothing is written any more.
func (c *copies) stop(ctx context.Context, name string) error {
	c.mu.Lock()
	running, ok := c.running[name]
	c.mu.Unlock()
	if !ok {
		return nil
	}
	running.cancel()
	select {
	case <-running.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting until its image is not copied any more: %w", ctx.Err())
	}
}
