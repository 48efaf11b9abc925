package health

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// tellingCalls are the latest calls of a kind that count: few enough that a node which works again soon says so.
	tellingCalls = 10
	// tellingFaults are how many own faults among them are no accident. The kubelet tries a volume that failed again
	// within seconds, at first.
	tellingFaults = 3
	// tellingTime is how long a call counts. The kubelet tries again at least every two minutes and two seconds
	// (pkg/volume/util/nestedpendingoperations), so one volume that keeps failing is enough.
	tellingTime = 5 * time.Minute
	// ownFault is the gRPC code of failures for which neither the volume, its image, the registry nor the runtime is
	// to blame.
	ownFault = "Internal"
)

// Operations is a check that fails while at least half of the latest calls which mount, or unmount, failed for the node
// plugin's own reasons. It lets a rollout of a node plugin that starts but cannot do its work come to its end.
type Operations struct {
	now    func() time.Time
	mu     sync.Mutex
	latest map[string][]outcome // by method, oldest first
}

// outcome is a call that went well, or failed by an own fault. Other failures tell nothing about the node plugin.
type outcome struct {
	at    time.Time
	fault bool
}

// NewOperations returns a check that has seen no call. The clock is time.Now but for tests.
func NewOperations(now func() time.Time) *Operations {
	return &Operations{now: now, latest: map[string][]outcome{}}
}

// Observe notes the outcome of a call, by the names of its method and gRPC code.
func (o *Operations) Observe(method, code string) {
	if method != "NodePublishVolume" && method != "NodeUnpublishVolume" || code != ownFault && code != "OK" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	latest := o.latest[method]
	if len(latest) == tellingCalls {
		latest = slices.Delete(latest, 0, 1)
	}
	o.latest[method] = append(latest, outcome{at: o.now(), fault: code == ownFault})
}

// Ready tells which kind of call keeps failing.
func (o *Operations) Ready(context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for method, latest := range o.latest {
		if faults, calls := count(latest, o.now()); faults >= tellingFaults && 2*faults >= calls {
			return fmt.Errorf("%d of the latest %d calls of %s failed, and not by the fault of a volume, its image or the runtime; the log tells why",
				faults, calls, method)
		}
	}
	return nil
}

// count counts the own faults among the calls that count still.
func count(latest []outcome, now time.Time) (faults, calls int) {
	for _, outcome := range latest {
		if now.Sub(outcome.at) >= tellingTime {
			continue
		}
		calls++
		if outcome.fault {
			faults++
		}
	}
	return faults, calls
}
