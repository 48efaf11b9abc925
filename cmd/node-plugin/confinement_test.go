package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/confinement"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/health"
)

// The tests' own process has no filter of system calls.
func TestANodePluginThatIsLessConfinedThanItIsToldDoesNotStart(t *testing.T) {
	o, err := parse(t, "--kubelet-root="+t.TempDir(), "--http-address=", "--confinement=container=Privileged;seccomp=RuntimeDefault")
	if err != nil {
		t.Fatal(err)
	}
	_, err = start(t.Context(), o, slog.New(slog.DiscardHandler))
	less := (*confinement.Less)(nil)
	if !errors.As(err, &less) || !strings.Contains(err.Error(), `its Seccomp is "0"`) || !strings.Contains(err.Error(), "RuntimeDefault") {
		t.Errorf("%v", err)
	}
}

func TestLessConfinementEndsTheProcessAndWhatCannotBeFoundOutDoesNot(t *testing.T) {
	less := &confinement.Less{Thread: "x", What: errors.New("its Seccomp is 0")}
	unknown := errors.New("cannot be read")
	p := &plugin{failed: make(chan error, 1)}
	for _, reported := range []error{nil, unknown} {
		check := p.ending(health.CheckFunc(func(context.Context) error { return reported }))
		if err := check.Ready(t.Context()); !errors.Is(err, reported) || len(p.failed) != 0 {
			t.Errorf("%v: it reports %v, and the process ends: %v", reported, err, len(p.failed) != 0)
		}
	}
	check := p.ending(health.CheckFunc(func(context.Context) error { return less }))
	if err := check.Ready(t.Context()); !errors.Is(err, less) || len(p.failed) != 1 {
		t.Errorf("it reports %v, and the process ends: %v", err, len(p.failed) != 0)
	}
	if err := check.Ready(t.Context()); !errors.Is(err, less) {
		t.Errorf("asked again, it reports %v", err)
	}
}
