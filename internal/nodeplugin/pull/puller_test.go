package pull

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

const image = "r.example/app:1"

func TestPolicies(t *testing.T) {
	tests := []struct {
		name    string
		policy  contract.PullPolicy
		present bool
		pulls   int32
		kind    Kind
	}{
		{"default, present", "", true, 0, ""},
		{"default, absent", "", false, 1, ""},
		{"IfNotPresent, present", contract.PullIfNotPresent, true, 0, ""},
		{"Always, present", contract.PullAlways, true, 1, ""},
		{"Never, present", contract.PullNever, true, 0, ""},
		{"Never, absent", contract.PullNever, false, 0, NotPresent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cri := &fakeCRI{images: map[string]bool{image: tt.present}}
			p := newPuller(t, cri, Config{})
			err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Policy: tt.policy})
			if tt.kind == "" && err != nil {
				t.Fatal(err)
			}
			if tt.kind != "" && kindOf(t, err) != tt.kind {
				t.Errorf("got %v, want kind %s", err, tt.kind)
			}
			if got := cri.pulls.Load(); got != tt.pulls {
				t.Errorf("%d pulls, want %d", got, tt.pulls)
			}
		})
	}
}

func TestASlowPullGoesOnAndTheRetryJoins(t *testing.T) {
	release := make(chan struct{})
	cri := &fakeCRI{onPull: heldUntil(release)}
	p := newPuller(t, cri, Config{})

	started := time.Now()
	err := p.Ensure(within(t, time.Second), Request{Image: image})
	if kindOf(t, err) != StillPulling || !strings.Contains(err.Error(), "still being pulled") {
		t.Fatalf("got %v", err)
	}
	var e *Error
	if !errors.As(err, &e) || e.Code() != codes.Aborted {
		t.Errorf("the code of %v is not Aborted", err)
	}
	if took := time.Since(started); took >= time.Second {
		t.Errorf("the answer came after the deadline: %s", took)
	}

	close(release)
	if err := p.Ensure(within(t, 10*time.Second), Request{Image: image}); err != nil {
		t.Fatal(err)
	}
	if got := cri.pulls.Load(); got != 1 {
		t.Errorf("%d pulls, want 1", got)
	}
}

func TestAnEndNobodyWaitedForIsToldOnceAndThenForgotten(t *testing.T) {
	for _, failure := range []error{nil, status.Error(codes.Unknown, "manifest unknown")} {
		release := make(chan struct{})
		cri := &fakeCRI{onPull: func(context.Context, string, *runtimeapi.AuthConfig) error {
			<-release
			return failure
		}}
		p := newPuller(t, cri, Config{})
		request := Request{Image: image, Policy: contract.PullAlways}
		if err := p.Ensure(within(t, 200*time.Millisecond), request); kindOf(t, err) != StillPulling {
			t.Fatal(err)
		}
		close(release)
		p.done.Wait()

		err := p.Ensure(within(t, 10*time.Second), request)
		if (failure == nil && err != nil) || (failure != nil && kindOf(t, err) != NotFound) {
			t.Errorf("the retry got %v", err)
		}
		if got := cri.pulls.Load(); got != 1 {
			t.Errorf("the retry of Always pulled again: %d pulls", got)
		}
		_ = p.Ensure(within(t, 10*time.Second), request)
		if got := cri.pulls.Load(); got != 2 {
			t.Errorf("the next publish did not pull: %d pulls", got)
		}
	}
}

func TestAnEndIsForgottenAfterItsRetention(t *testing.T) {
	release := make(chan struct{})
	cri := &fakeCRI{onPull: func(context.Context, string, *runtimeapi.AuthConfig) error {
		<-release
		return nil
	}}
	p := newPuller(t, cri, Config{Retention: time.Millisecond})
	_ = p.Ensure(within(t, 100*time.Millisecond), Request{Image: image, Policy: contract.PullAlways})
	close(release)
	p.done.Wait()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		left := len(p.flights)
		p.mu.Unlock()
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d flights left", left)
		}
	}
}

func TestManyCallersShareOnePullButNotAcrossCredentials(t *testing.T) {
	release := make(chan struct{})
	cri := &fakeCRI{onPull: func(_ context.Context, _ string, auth *runtimeapi.AuthConfig) error {
		<-release
		if auth.GetUsername() != "alice" {
			return status.Error(codes.Unknown, "pull access denied, repository does not exist or may require authorization")
		}
		return nil
	}}
	p := newPuller(t, cri, Config{})
	ctx := within(t, 20*time.Second)

	var good, bad sync.WaitGroup
	var goodErrs, badErrs [50]error
	for i := range 50 {
		good.Go(func() {
			goodErrs[i] = p.Ensure(ctx, Request{Image: image, Policy: contract.PullAlways, Auths: []*runtimeapi.AuthConfig{{Username: "alice"}}})
		})
		bad.Go(func() { badErrs[i] = p.Ensure(ctx, Request{Image: image, Policy: contract.PullAlways}) })
	}
	for inFlight := 0; inFlight < 2; time.Sleep(time.Millisecond) {
		inFlight = int(cri.pulls.Load())
	}
	time.Sleep(50 * time.Millisecond) // let the callers arrive; late ones would only pull once more
	close(release)
	good.Wait()
	bad.Wait()
	for i := range 50 {
		if goodErrs[i] != nil {
			t.Errorf("caller with credentials: %v", goodErrs[i])
		}
		if badErrs[i] == nil || kindOf(t, badErrs[i]) != Denied {
			t.Errorf("caller without credentials: %v", badErrs[i])
		}
	}
	if got := cri.pulls.Load(); got > 10 {
		t.Errorf("%d pulls for two sets of credentials", got)
	}
}

func TestParallelPullsAreLimited(t *testing.T) {
	var now, most atomic.Int32
	cri := &fakeCRI{onPull: func(context.Context, string, *runtimeapi.AuthConfig) error {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(20 * time.Millisecond)
		now.Add(-1)
		return nil
	}}
	p := newPuller(t, cri, Config{MaxParallel: 2})
	ctx := within(t, 20*time.Second)
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			if err := p.Ensure(ctx, Request{Image: image + string(rune('a'+i))}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most.Load() > 2 {
		t.Errorf("%d pulls at a time, want 2 at most", most.Load())
	}
}

func TestAPullInTheQueueSaysSo(t *testing.T) {
	pulling := make(chan struct{}, 2)
	cri := &fakeCRI{onPull: func(ctx context.Context, _ string, _ *runtimeapi.AuthConfig) error {
		pulling <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	p := newPuller(t, cri, Config{MaxParallel: 1})
	_ = p.Ensure(within(t, 100*time.Millisecond), Request{Image: image})
	<-pulling // it has the turn
	err := p.Ensure(within(t, 100*time.Millisecond), Request{Image: "r.example/other:1"})
	if kindOf(t, err) != StillPulling || !strings.Contains(err.Error(), "waiting for other pulls") {
		t.Errorf("got %v", err)
	}
}

func TestEveryCredentialIsTriedThenNone(t *testing.T) {
	var mu sync.Mutex
	var tried []string
	cri := &fakeCRI{onPull: func(_ context.Context, _ string, auth *runtimeapi.AuthConfig) error {
		mu.Lock()
		defer mu.Unlock()
		tried = append(tried, auth.GetUsername())
		if auth != nil {
			return status.Error(codes.Unknown, "unexpected status: 401 Unauthorized")
		}
		return nil
	}}
	p := newPuller(t, cri, Config{})
	err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Auths: []*runtimeapi.AuthConfig{{Username: "a"}, {Username: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(tried, ","); got != "a,b," {
		t.Errorf("tried %q, want a, b and anonymous", got)
	}
}

func TestTheLinesOfAPullNameTheImageAndThePod(t *testing.T) {
	for what, failure := range map[string]error{"image pulled": nil, "pull failed": status.Error(codes.Unknown, "manifest unknown")} {
		var log bytes.Buffer
		cri := &fakeCRI{onPull: func(context.Context, string, *runtimeapi.AuthConfig) error { return failure }}
		p := newPuller(t, cri, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		_ = p.Ensure(within(t, 10*time.Second), Request{Image: image, For: "default/app"})
		for _, message := range []string{"pulling image", what} {
			if !regexp.MustCompile(`msg="` + message + `" image=` + image + ` pod=default/app `).MatchString(log.String()) {
				t.Errorf("no line %q names them: %s", message, log.String())
			}
		}
	}
}

func TestAPanicInAPullIsTheEndOfThatPullOnly(t *testing.T) {
	p := newPuller(t, &fakeCRI{}, Config{MaxParallel: 1})
	panics := &Provided{Ask: func(context.Context) ([]*runtimeapi.AuthConfig, error) { panic("oh no") }}
	err := p.Ensure(within(t, 10*time.Second), Request{Image: image, Provided: panics})
	if kindOf(t, err) != Defect || strings.Contains(err.Error(), "oh no") {
		t.Errorf("got %v", err)
	}
	if err := p.Ensure(within(t, 10*time.Second), Request{Image: image}); err != nil {
		t.Errorf("the next pull, with the same turn: %v", err)
	}
}

// corruptDownloads notes what is discarded.
type corruptDownloads struct {
	downloads
	discarded []string
}

func (d *corruptDownloads) DiscardDownload(_ context.Context, corrupt error) error {
	d.discarded = append(d.discarded, corrupt.Error())
	return errors.New("which is only logged")
}

func TestWhatTheRuntimeCallsCorruptIsDiscarded(t *testing.T) {
	for said, want := range map[string]int{
		`failed commit on ref "layer-sha256:1": unexpected commit digest sha256:2, expected sha256:1: failed precondition`: 1,
		"unexpected status: 401 Unauthorized": 0,
	} {
		cri := &fakeCRI{onPull: func(context.Context, string, *runtimeapi.AuthConfig) error { return status.Error(codes.Unknown, said) }}
		kept := &corruptDownloads{}
		err := newPuller(t, cri, Config{Downloads: kept}).Ensure(within(t, 10*time.Second), Request{Image: image})
		if kind := kindOf(t, err); (kind == Corrupt) != (want == 1) {
			t.Errorf("%s: %v", said, err)
		}
		if len(kept.discarded) != want || (want == 1 && !strings.Contains(kept.discarded[0], said)) {
			t.Errorf("%s: discarded %q", said, kept.discarded)
		}
	}
}
