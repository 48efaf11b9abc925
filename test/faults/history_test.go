package faults

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/nodes"
	"github.com/image-csi/image-csi-operator/test/internal/sigkill"
)

// history is what happens on a node, once for each step at which the plugin is killed.
type history struct {
	before func(*testing.T, *nodes.Plugin)       // the plugin runs; nil is nothing
	killed func(*testing.T, *nodes.Plugin) error // a call, and how it ended: it fails if its plugin is killed
	dead   func(*testing.T, *nodes.Plugin)       // the plugin does not run; nil is nothing
	after  func(*testing.T, *nodes.Plugin)       // the plugin runs again; nil is nothing
}

const (
	// everyStep is the environment variable that asks for every step instead of a sample.
	everyStep = "IMAGECSI_FAULTS"

	// sampled is the share of the steps in a sample: one in that many.
	sampled = 9

	// maxSteps is more than any call takes.
	maxSteps = 400

	// maxStarts is how often the plugin may be started after it was killed until nothing is left: what is out of use
	// is noted by one sweep and taken back by another.
	maxStarts = 3
)

// killAtEveryStep lives through a history again and again. The plugin is killed at the call's first step, then at its
// second, and so on until the call ends before. After each the node has to be as it was.
func killAtEveryStep(t *testing.T, p *nodes.Plugin, h history) {
	t.Helper()
	first, stride := 1, 1
	if os.Getenv(everyStep) == "" {
		// The samples of different tests have different steps.
		first, stride = 1+len(t.Name())%sampled, sampled
	}
	p.Stop(t, syscall.SIGTERM)
	before := stateOf(t, p)
	for n := first; n < maxSteps; n += stride {
		p.Start(t)
		if h.before != nil {
			h.before(t, p)
		}
		killed := killAt(t, p, h, n)
		if h.dead != nil {
			h.dead(t, p)
		}
		p.Start(t)
		if h.after != nil {
			h.after(t, p)
		}
		p.Stop(t, syscall.SIGTERM)
		wantState(t, p, before)
		if t.Failed() {
			return
		}
		if !killed {
			return
		}
	}
	t.Fatalf("the call was still killed at step %d", maxSteps)
}

// killAt makes the call and reports whether the plugin was killed at that step.
func killAt(t *testing.T, p *nodes.Plugin, h history, n int) bool {
	t.Helper()
	killer := sigkill.At(t, p.PID(t), n)
	err := h.killed(t, p)
	steps, killed := killer.End(t)
	if killed {
		_ = p.Wait(t)
		t.Logf("killed at step %d: %s", n, steps[len(steps)-1])
		return true
	}
	if err != nil {
		t.Fatalf("nothing was killed, and yet: %v", err)
	}
	t.Logf("it takes %d steps", len(steps))
	p.Stop(t, syscall.SIGKILL)
	return false
}

// wantState wants the node to be as it was before, after some more starts at most. The plugin does not run.
func wantState(t *testing.T, p *nodes.Plugin, before state) {
	t.Helper()
	for starts := 1; ; starts++ {
		now := stateOf(t, p)
		left, lost := now.without(before), before.without(now)
		if len(left) == 0 && len(lost) == 0 {
			return
		}
		if starts == maxStarts {
			t.Errorf("left:\n%s\nlost:\n%s\nlog: %s", strings.Join(left, "\n"), strings.Join(lost, "\n"), p.Said())
			return
		}
		p.StartAndSweep(t)
		p.Stop(t, syscall.SIGTERM)
	}
}

// onEveryRuntime runs a test on all nodes at the same time, or one after the other where they share a file system's quotas.
func onEveryRuntime(t *testing.T, test func(*testing.T, *nodes.Plugin)) {
	for _, target := range suite.Targets(t) {
		t.Run(target.Name, func(t *testing.T) {
			if !target.HasQuotas(t) {
				t.Parallel()
			}
			// The directory of the pod in which the plugin would run.
			if err := os.MkdirAll(filepath.Join(target.Root(), nodes.KubeletRoot, "pods/plugin"), 0o755); err != nil {
				t.Fatal(err)
			}
			p := nodes.Start(t, target, nodes.DriverName())
			p.Flags = []string{"--" + contract.FlagOrphanAfter + "=1ms"}
			p.MustPublish(t, neighbour) // so that everything that is made once has been made
			p.Unpublish(t, neighbour.ID)
			test(t, p)
		})
	}
}
