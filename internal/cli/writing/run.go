package writing

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/image-csi/image-csi-operator/internal/cli/handover"
)

// ErrTimeout is of a run that waited in vain.
var ErrTimeout = errors.New("it did not come")

// repeats is how often a run takes one step. More often means that somebody takes it back.
const repeats = 3

// Pace is how a run waits.
type Pace struct {
	// Poll is the pause between two looks.
	Poll time.Duration
	// Confirm is for how long what was waited for has to stay: a kubelet takes a moment to notice that a socket is gone.
	Confirm time.Duration
	// Patience is how long a run waits for one thing.
	Patience time.Duration
}

// DefaultPace is for real clusters, but for the patience.
func DefaultPace() Pace { return Pace{Poll: time.Second, Confirm: 4 * time.Second} }

// Run is one run of a handover.
type Run struct {
	Way  handover.Direction
	Pace Pace
	Read func(context.Context) (handover.Objects, error)
	Take func(context.Context, handover.Step, handover.Cluster, handover.Objects) error
	// Say tells a person what is done, and what is waited for.
	Say func(string)
}

// Go takes steps until none is left, or a person has to act, and returns the last one with what was seen then. The error is
// ErrTimeout if something did not happen in time; every other one is the API server's, or the context's.
func (r Run) Go(ctx context.Context) (handover.Step, handover.Objects, error) {
	taken := map[string]int{}
	var waitsFor, said string
	var since time.Time
	for {
		step, cluster, objects, err := r.look(ctx)
		if err != nil || (step.Ends() && waitsFor == "") {
			return step, objects, err
		}
		if step.Kind == handover.Wait {
			if waitsFor != step.On {
				since = time.Now()
			}
			if said != step.String() {
				r.Say(step.String())
			}
			waitsFor, said = step.On, step.String()
			if time.Since(since) > r.Pace.Patience {
				return step, objects, fmt.Errorf("%s: %w in %s", step, ErrTimeout, r.Pace.Patience)
			}
			if err := pause(ctx, r.Pace.Poll); err != nil {
				return step, objects, err
			}
			continue
		}
		if waitsFor != "" {
			stays, err := r.stays(ctx, step)
			if err != nil {
				return step, objects, err
			}
			if stays {
				waitsFor = ""
			}
			continue
		}
		key := step.String()
		if taken[key]++; taken[key] > repeats {
			return step, objects, fmt.Errorf("%s: was done %d times and undone by somebody else, such as a tool that applies manifests from a repository; stop that first", step, repeats)
		}
		r.Say(key)
		if err := r.Take(ctx, step, cluster, objects); apierrors.IsConflict(err) {
			taken[key]-- // Nothing has happened.
		} else if err != nil {
			return step, objects, err
		}
	}
}

// look reads the cluster and decides.
func (r Run) look(ctx context.Context) (handover.Step, handover.Cluster, handover.Objects, error) {
	objects, err := r.Read(ctx)
	if err != nil {
		return handover.Step{}, handover.Cluster{}, objects, err
	}
	cluster, err := handover.See(objects)
	if err != nil {
		return handover.Step{}, cluster, objects, err
	}
	return handover.Next(r.Way, cluster), cluster, objects, nil
}

// stays reports whether a step is still the next one after a while.
func (r Run) stays(ctx context.Context, step handover.Step) (bool, error) {
	if err := pause(ctx, r.Pace.Confirm); err != nil {
		return false, err
	}
	again, _, _, err := r.look(ctx)
	return again.Kind == step.Kind && again.On == step.On, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
