package pull

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// trickling is a registry that gives out a byte of its images now and then; any other answers at once.
const trickling = "slow.example/"

func trickle(ctx context.Context, name string, _ *runtimeapi.AuthConfig) error {
	if !strings.HasPrefix(name, trickling) {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// fill has the pods of a namespace ask for images of the trickling registry, and returns when they stop asking.
func fill(t *testing.T, p *Puller, images int, patience time.Duration) {
	t.Helper()
	var asking sync.WaitGroup
	for i := range images {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
			defer cancel()
			_ = p.Ensure(ctx, Request{Image: fmt.Sprint(trickling, "image", i, ":1"), For: fmt.Sprint("evil/pod", i)})
		})
	}
	asking.Wait()
}

func TestAPullThatNobodyAsksForEndsWhenOthersWait(t *testing.T) {
	p := newPuller(t, &fakeCRI{onPull: trickle}, Config{MaxParallel: 2, Retention: 300 * time.Millisecond})
	fill(t, p, 5, 50*time.Millisecond)
	for _, pod := range []string{"evil/other", "good/pod"} {
		if err := p.Ensure(within(t, 10*time.Second), Request{Image: "r.example/" + strings.ReplaceAll(pod, "/", "-") + ":1", For: pod}); err != nil {
			t.Error(pod, err)
		}
	}
}

func TestAPullThatNobodyWaitsInTheWayOfGoesOn(t *testing.T) {
	release := make(chan struct{})
	cri := &fakeCRI{onPull: heldUntil(release)}
	p := newPuller(t, cri, Config{MaxParallel: 1, Retention: 50 * time.Millisecond})
	_ = p.Ensure(within(t, 50*time.Millisecond), Request{Image: image})
	time.Sleep(200 * time.Millisecond)
	close(release)
	eventually(t, func() bool { return cri.has(image) })
	if cri.pulls.Load() != 1 {
		t.Errorf("%d pulls", cri.pulls.Load())
	}
}

func TestAPullThatSomebodyAsksForIsNotEnded(t *testing.T) {
	p := newPuller(t, &fakeCRI{onPull: trickle}, Config{MaxParallel: 1, Retention: 100 * time.Millisecond, FirstWord: time.Minute})
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 1500*time.Millisecond)
		defer cancel()
		_ = p.Ensure(ctx, Request{Image: trickling + "image:1", For: "slow/pod"})
	}()
	eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.flights) == 1 })
	err := p.Ensure(within(t, 700*time.Millisecond), Request{Image: image, For: "good/pod"})
	if kindOf(t, err) != StillPulling {
		t.Error("a pull was ended that a pod waits for:", err)
	}
	<-asked
	if err := p.Ensure(within(t, 10*time.Second), Request{Image: image, For: "good/pod"}); err != nil {
		t.Error(err)
	}
}

func TestANamespaceLeavesATurnToOthers(t *testing.T) {
	p := newPuller(t, &fakeCRI{onPull: trickle}, Config{MaxParallel: 3, FirstWord: time.Minute})
	asking := make(chan struct{})
	go func() { defer close(asking); fill(t, p, 9, 2*time.Second) }() // all the while
	eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.flights) == 9 })
	for i := range 3 {
		if err := p.Ensure(within(t, 10*time.Second), Request{Image: fmt.Sprint("r.example/app:", i), For: "good/pod"}); err != nil {
			t.Error(err)
		}
	}
	<-asking
	p.Close()
	if left := len(p.pulls.namespaces); left != 0 || p.pulls.all.free != 3 {
		t.Errorf("%d namespaces and %d free turns are left", left, p.pulls.all.free)
	}
}

func TestAProofOfAccessWaitsForNoDownload(t *testing.T) {
	cri := &fakeCRI{images: map[string]bool{}, onPull: func(ctx context.Context, name string, auth *runtimeapi.AuthConfig) error {
		switch {
		case strings.HasPrefix(name, trickling):
			return trickle(ctx, name, auth)
		case auth == nil:
			return status.Error(codes.Unknown, "unexpected status: 401 Unauthorized")
		}
		return nil
	}}
	p := newPuller(t, cri, Config{MaxParallel: 1, Access: records(t)})
	have(t, p, image, "", alice, "")
	_ = p.Ensure(within(t, 50*time.Millisecond), Request{Image: trickling + "image:1", For: "evil/pod"})
	have(t, p, image, "", bob, "")
}

func TestAPodHearsEarlyAndOnceOfALongPull(t *testing.T) {
	p := newPuller(t, &fakeCRI{onPull: trickle}, Config{FirstWord: 50 * time.Millisecond})
	ask := func(pod string) time.Duration {
		t.Helper()
		began := time.Now()
		err := p.Ensure(within(t, 2*time.Second), Request{Image: trickling + "image:1", For: pod})
		if kindOf(t, err) != StillPulling || !strings.Contains(err.Error(), "still being pulled") {
			t.Errorf("got %v", err)
		}
		return time.Since(began)
	}
	if took := ask("a/pod"); took > time.Second {
		t.Errorf("a pod waits %s for its first word", took)
	}
	if took := ask("a/pod"); took < time.Second {
		t.Errorf("a pod that knows hears again after %s", took)
	}
	if took := ask("b/pod"); took > time.Second {
		t.Errorf("another pod waits %s for its first word", took)
	}
}
