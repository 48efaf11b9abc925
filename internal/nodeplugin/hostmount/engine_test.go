package hostmount

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestAFreeThreadIsWaitedForNoLongerThanTheContext(t *testing.T) {
	f := newFixture(t)
	release := make(chan struct{})
	for range f.config.Threads {
		started := make(chan struct{})
		go func() {
			_ = f.do(context.Background(), func() error { close(started); <-release; return nil })
		}()
		<-started
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20e6)
	defer cancel()
	err := f.MountOverlay(ctx, f.overlay(t, f.layers(t, 2)...))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(release)
}

func TestAClosedEngineSaysSo(t *testing.T) {
	f := newFixture(t)
	e, err := Open(deadline(t), f.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Close(), e.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Mounts(deadline(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestAPanicOnAMountThreadIsAnError(t *testing.T) {
	f := newFixture(t)
	if err := f.do(deadline(t), func() error { panic("boom") }); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("got %v", err)
	}
	if _, err := f.Mounts(deadline(t)); err != nil {
		t.Errorf("the engine is gone: %v", err)
	}
}

// inNamespace runs f on a mount thread.
func inNamespace(t testing.TB, f *fixture, run func() error) {
	t.Helper()
	if err := f.do(deadline(t), run); err != nil {
		t.Fatal(err)
	}
}
