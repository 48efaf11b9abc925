package hostmount

import (
	"context"
	"fmt"
	"sync"
)

// Engine mounts and unmounts in one mount namespace. Its methods may be called at the same time, except that
// callers take care that one target is worked on by one call at a time.
type Engine struct {
	config       Config
	seLinux      bool // SELinux is enabled, so overlays get config.Context
	appendLayers bool // the kernel takes lower layers one by one: lowerdir+

	kernel        quotaCalls
	quotaByDevice bool       // tests set it to do as on a kernel without quotactl_fd(2)
	projects      sync.Mutex // held from the choice of a free project ID until it is in use
	placing       sync.Mutex // held while an overlay to be looked at has a place, on kernels that need one

	mounting pool // the mount threads
	// One thread each, because a file system that hangs must not keep others from being mounted.
	looking  pool // looks into volumes
	clearing pool // unmounts what others mounted beneath a target
	plain    plainLayers
	closed   chan struct{}
	close    sync.Once
}

// Open starts the mount threads and detects what the kernel offers. If a thread cannot enter the namespace, the error names the
// missing capability or setting.
func Open(ctx context.Context, config Config) (*Engine, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		config:   config,
		mounting: pool{requests: make(chan request)},
		looking:  pool{requests: make(chan request)},
		clearing: pool{requests: make(chan request)},
		closed:   make(chan struct{}),
	}
	e.kernel = quotaCalls{fileAttributesOf, setFileAttributesOf, e.quotactl}
	if err := e.startThreads(); err != nil {
		_ = e.Close()
		return nil, err
	}
	if err := e.do(ctx, e.probe); err != nil {
		_ = e.Close()
		return nil, err
	}
	config.Logger.Info("mount engine ready", "namespace", namespaceName(config), "threads", config.Threads,
		"lowerdirAppend", e.appendLayers, "seLinux", e.seLinux)
	return e, nil
}

// Close ends the mount threads after the requests that run. It does not wait for a look at a volume, nor for what others
// mounted beneath one. Mounts stay.
func (e *Engine) Close() error {
	e.close.Do(func() { close(e.closed) })
	e.mounting.threads.Wait()
	return nil
}

// probe runs once, on a mount thread.
func (e *Engine) probe() error {
	e.appendLayers = takesLayersOneByOne()
	enabled, err := seLinuxEnabled()
	if err != nil {
		return fmt.Errorf("finding out whether SELinux is enabled: %w", err)
	}
	e.seLinux = enabled
	return nil
}

// do runs f on a mount thread. It waits for a free thread until ctx ends. Once f runs, it waits for f, because a mount
// system call cannot be cancelled and must not overlap the next try.
func (e *Engine) do(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := request{run: f, done: make(chan error, 1)}
	select {
	case e.mounting.requests <- r:
		return <-r.done
	case <-e.closed:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("all %d mount threads are at work: %w", e.config.Threads, ctx.Err())
	}
}

// look runs f, which looks into a volume and changes nothing, on the thread for that. It waits no longer than ctx lives,
// and f may end later: nothing that it writes to may be read after an error.
func (e *Engine) look(ctx context.Context, f func() error) error {
	return e.within(ctx, &e.looking, f, "the look at another volume, whose file system does not answer, has not ended")
}

// within runs f on the one thread of a pool. It waits no longer than ctx lives, and f may end later. Taken is the
// error's text if the thread is not free in time.
func (e *Engine) within(ctx context.Context, p *pool, f func() error, taken string) error {
	r := request{run: f, done: make(chan error, 1)}
	select {
	case p.requests <- r:
	case <-e.closed:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", taken, ctx.Err())
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the volume's file system does not answer: %w", ctx.Err())
	}
}

func namespaceName(c Config) string {
	if c.NamespaceDir == "" {
		return "own"
	}
	return c.NamespaceDir
}
