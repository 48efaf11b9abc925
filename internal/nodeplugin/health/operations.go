package health

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// countedVolumes is how many volumes count, those called last. It is small, so that a node that works again is soon ready.
	countedVolumes = 10
	// minFaults is how many of these volumes must have an own fault to make the node plugin unready. One volume is not enough,
	// however often the kubelet tries it: otherwise every user who may create a pod could make a node unready.
	minFaults = 3
	// countedTime is how long a call counts. The kubelet retries a failed volume at least every two minutes and two seconds
	// (pkg/volume/util/nestedpendingoperations), so a volume that keeps failing goes on counting.
	countedTime = 5 * time.Minute
	// ownFault is the gRPC code of failures that are the fault of neither the volume, its image, the registry, the runtime nor
	// the node.
	ownFault = "Internal"
)

// Operations is a check that fails while at least three, and at least half, of the volumes that were mounted or unmounted lately
// failed because of the node plugin itself. It stops the rollout of a node plugin that starts but cannot do its work.
type Operations struct {
	now    func() time.Time
	mu     sync.Mutex
	latest map[string][]outcome // by method, oldest first, one for each volume
}

// outcome is the result of a volume's latest call: success, or an own fault. Other failures are no evidence about the node
// plugin.
type outcome struct {
	volume string
	at     time.Time
	fault  bool
}

// NewOperations returns a check that has seen no call. The clock is time.Now, except in tests.
func NewOperations(now func() time.Time) *Operations {
	return &Operations{now: now, latest: map[string][]outcome{}}
}

// Observe records the outcome of a call about a volume, by the names of its method and gRPC code. The caller chooses the name of
// the volume, which must be the same at each try.
func (o *Operations) Observe(method, code, volume string) {
	if (method != "NodePublishVolume" && method != "NodeUnpublishVolume") || (code != ownFault && code != "OK") {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	latest := slices.DeleteFunc(o.latest[method], func(earlier outcome) bool { return earlier.volume == volume })
	if len(latest) == countedVolumes {
		latest = slices.Delete(latest, 0, 1)
	}
	o.latest[method] = append(latest, outcome{volume: volume, at: o.now(), fault: code == ownFault})
}

// Ready returns nil, or which kind of call keeps failing.
func (o *Operations) Ready(context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for method, latest := range o.latest {
		if faults, volumes := count(latest, o.now()); faults >= minFaults && 2*faults >= volumes {
			return fmt.Errorf("%s failed for %d of the latest %d volumes because of a defect of the node plugin; the log has the reason",
				method, faults, volumes)
		}
	}
	return nil
}

// count returns how many volumes still count, and how many of them have an own fault.
func count(latest []outcome, now time.Time) (faults, volumes int) {
	for _, outcome := range latest {
		if now.Sub(outcome.at) >= countedTime {
			continue
		}
		volumes++
		if outcome.fault {
			faults++
		}
	}
	return faults, volumes
}
