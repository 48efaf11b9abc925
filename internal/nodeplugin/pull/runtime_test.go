package pull

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestAHangingPullEnds(t *testing.T) {
	cri := &fakeCRI{onPull: func(ctx context.Context, _ string, _ *runtimeapi.AuthConfig) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	p := newPuller(t, cri, Config{Timeout: 50 * time.Millisecond})
	err := p.Ensure(within(t, 10*time.Second), Request{Image: image})
	// Either side of the connection may notice first that the time is over, so only the code is certain.
	var e *Error
	if !errors.As(err, &e) || e.Code() != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestARuntimeThatRestartsIsFoundAgain(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "cri.sock")
	first := &fakeCRI{onPull: func(ctx context.Context, _ string, _ *runtimeapi.AuthConfig) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	stop := first.serve(t, socket)
	p := dialPuller(t, socket, Config{})
	if err := p.runtime.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}

	failed := make(chan error, 1)
	go func() { failed <- p.Ensure(within(t, 20*time.Second), Request{Image: image}) }()
	for first.pulls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	stop()
	err := <-failed
	var e *Error
	if !errors.As(err, &e) || e.Code() != codes.Unavailable {
		t.Errorf("while the runtime stopped: %v", err)
	}
	if err := p.Ensure(within(t, 5*time.Second), Request{Image: image}); kindOf(t, err) != RuntimeDown {
		t.Errorf("while the runtime is down: %v", err)
	}
	if p.runtime.Ready(t.Context()) == nil {
		t.Error("a stopped runtime counts as ready")
	}

	(&fakeCRI{}).serve(t, socket)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err = p.Ensure(within(t, 5*time.Second), Request{Image: image}); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the runtime is back and still: %v", err)
		}
	}
}

func TestDialRefusesWhatIsNotASocket(t *testing.T) {
	for _, endpoint := range []string{"", "/run/containerd/containerd.sock", "tcp://127.0.0.1:1", "unix://relative"} {
		if _, err := Dial(endpoint); err == nil {
			t.Errorf("%q was accepted", endpoint)
		}
	}
}
