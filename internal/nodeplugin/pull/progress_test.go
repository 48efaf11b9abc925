package pull

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// downloads returns what the test prescribes, and discards nothing.
type downloads func(ctx context.Context, image string, since time.Time) (done, total int64, err error)

func (d downloads) Downloading(ctx context.Context, image string, since time.Time) (done, total int64, err error) {
	return d(ctx, image, since)
}

func (d downloads) DiscardDownload(context.Context, error) error { return nil }

func TestAPullUnderWayTellsHowFarItIs(t *testing.T) {
	begun := time.Now()
	for what, c := range map[string]struct {
		downloads Downloads
		want      string
	}{
		"no runtime that reports it": {nil, "elapsed; the container runtime does not report progress); the kubelet"},
		"half": {downloads(func(_ context.Context, of string, since time.Time) (done, total int64, err error) {
			if of != image || since.Before(begun) {
				return 0, 0, errors.New("asked for another image, or for downloads from before the pull")
			}
			return 1 << 20, 5 << 19, nil
		}), "elapsed; 1.0 MiB of 2.5 MiB of its layers are on this node); the kubelet"},
		"nothing yet": {downloads(func(context.Context, string, time.Time) (done, total int64, err error) { return 0, 0, nil }),
			"elapsed); the kubelet"},
		"sizes that lie": {downloads(func(context.Context, string, time.Time) (done, total int64, err error) { return -5 << 20, 1 << 20, nil }),
			"elapsed); the kubelet"},
		"an error": {downloads(func(context.Context, string, time.Time) (done, total int64, err error) {
			return 0, 0, errors.New("away")
		}),
			"elapsed); the kubelet"},
		"no answer": {downloads(func(ctx context.Context, _ string, _ time.Time) (done, total int64, err error) {
			<-ctx.Done()
			return 0, 0, ctx.Err()
		}), "elapsed); the kubelet"},
	} {
		cri := &fakeCRI{onPull: func(ctx context.Context, _ string, _ *runtimeapi.AuthConfig) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		p := newPuller(t, cri, Config{Downloads: c.downloads})
		started := time.Now()
		err := p.Ensure(within(t, 400*time.Millisecond), Request{Image: image})
		if kindOf(t, err) != StillPulling || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if took := time.Since(started); took > time.Second {
			t.Errorf("%s: the answer came after %s, later than the deadline", what, took)
		}
	}
}

// The clock jumps by a day while test/kernel runs this in its machines; elsewhere it must hold all the more.
func TestAPullTellsItsTimeWhateverTheClockSays(t *testing.T) {
	cri := &fakeCRI{onPull: func(ctx context.Context, _ string, _ *runtimeapi.AuthConfig) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	p := newPuller(t, cri, Config{MaxParallel: 1, FirstWord: 100 * time.Millisecond})
	for try := range 3 {
		for _, name := range []string{image, "r.example/queued:1"} {
			// Each pod hears of it first, so nothing depends on how fast this machine is.
			err := p.Ensure(within(t, time.Minute), Request{Image: name, For: fmt.Sprintf("pod-%d", try)})
			var told time.Duration
			if said := elapsed.FindStringSubmatch(err.Error()); said != nil {
				told, _ = time.ParseDuration(said[1])
			}
			if kindOf(t, err) != StillPulling || told < 0 || told > time.Minute || !strings.Contains(err.Error(), " elapsed") {
				t.Fatalf("after a moment: %v", err)
			}
		}
	}
}

var elapsed = regexp.MustCompile(`\((\S+) elapsed`)
