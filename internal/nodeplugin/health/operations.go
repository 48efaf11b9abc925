package health

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// tellingVolumes are the volumes whose latest calls count, those called last: few enough that a node which works again
	// soon says so.
	tellingVolumes = 10
	// tellingFaults are how many volumes with an own fault among them are no accident. One volume is none, however often
	// the kubelet tries it: whoever may create a pod could make a node unready with it.
	tellingFaults = 3
	// tellingTime is how long a call counts. The kubelet tries a volume that failed again at least every two minutes and two
	// seconds (pkg/volume/util/nestedpendingoperations), so one that keeps failing goes on counting.
	tellingTime = 5 * time.Minute
	// ownFault is the gRPC code of failures for which neither the volume, its image, the registry, the runtime nor the
	// node is to blame.
	ownFault = "Internal"
)

// Operations is a check that fails while at least half of the volumes that were mounted, or unmounted, of late failed for
// the node plugin's own reasons, and at least three did. It lets a rollout of a node plugin that starts but cannot do its
// work come to its end.
type Operations struct {
	now    func() time.Time
	mu     sync.Mutex
	latest map[string][]outcome // by method, oldest first, one for each volume
}

// outcome is how a volume's latest call went: well, or failed by an own fault. Other failures tell nothing about the node
// plugin.
type outcome struct {
	volume string
	at     time.Time
	fault  bool
}

// NewOperations returns a check that has seen no call. The clock is time.Now but for tests.
func NewOperations(now func() time.Time) *Operations {
	return &Operations{now: now, latest: map[string][]outcome{}}
}

// Observe notes the outcome of a call about a volume, by the names of its method and gRPC code. What names the volume is
// the caller's to choose, and the same at each try.
func (o *Operations) Observe(method, code, volume string) {
	if method != "NodePublishVolume" && method != "NodeUnpublishVolume" || code != ownFault && code != "OK" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	latest := slices.DeleteFunc(o.latest[method], func(earlier outcome) bool { return earlier.volume == volume })
	if len(latest) == tellingVolumes {
		latest = slices.Delete(latest, 0, 1)
	}
	o.latest[method] = append(latest, outcome{volume: volume, at: o.now(), fault: code == ownFault})
}

// Ready tells which kind of call keeps failing.
func (o *Operations) Ready(context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for method, latest := range o.latest {
		if faults, volumes := count(latest, o.now()); faults >= tellingFaults && 2*faults >= volumes {
			return fmt.Errorf("%s failed for %d of the latest %d volumes, and not by the fault of the volumes, their images, the runtime or the node; the log tells why",
				method, faults, volumes)
		}
	}
	return nil
}

// count counts the volumes that count still, and those of them with an own fault.
func count(latest []outcome, now time.Time) (faults, volumes int) {
	for _, outcome := range latest {
		if now.Sub(outcome.at) >= tellingTime {
			continue
		}
		volumes++
		if outcome.fault {
			faults++
		}
	}
	return faults, volumes
}
