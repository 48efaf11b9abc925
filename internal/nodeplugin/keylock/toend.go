package keylock

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recoverpanic"
)

// RunToEnd runs f, whose name is what, to its end while a lock is held, and then unlocks. f has no deadline: it asks another
// process for something that happens even if nobody waits for the answer any more, so the lock covers what happens, and not
// only the wait. RunToEnd itself returns when ctx ends, and does not run f if ctx has ended already.
func RunToEnd(ctx context.Context, log *slog.Logger, what string, unlock func(), f func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		unlock()
		return err
	}
	ended := make(chan error, 1)
	go func() {
		err := recoverpanic.Guard(log, what, func() error { return f(context.WithoutCancel(ctx)) })
		unlock()
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s is still under way: %w", what, ctx.Err())
	}
}
