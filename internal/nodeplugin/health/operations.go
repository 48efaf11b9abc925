package health

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// rowLength is how many failures of one kind of call, with no success in between, are no accident. The kubelet
	// tries a volume that failed again within seconds, at first.
	rowLength = 3
	// rowLasts is how long a row counts after its last failure. The kubelet tries again at least every two minutes and
	// two seconds (pkg/volume/util/nestedpendingoperations); when it does not any more, the volume is given up.
	rowLasts = 5 * time.Minute
	// ownFault is the gRPC code of failures for which neither the volume, its image, the registry nor the runtime is
	// to blame.
	ownFault = "Internal"
)

// Operations is a check that fails while calls which mount and unmount fail, one after another, for the node plugin's own
// reasons. It lets a rollout of a node plugin that starts but cannot do its work come to its end.
type Operations struct {
	now  func() time.Time
	mu   sync.Mutex
	rows map[string]row
}

type row struct {
	failures int
	last     time.Time
}

// NewOperations returns a check that has seen no call. The clock is time.Now but for tests.
func NewOperations(now func() time.Time) *Operations {
	return &Operations{now: now, rows: map[string]row{}}
}

// Observe notes the outcome of a call, by the names of its method and gRPC code.
func (o *Operations) Observe(method, code string) {
	if method != "NodePublishVolume" && method != "NodeUnpublishVolume" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch code {
	case ownFault:
		o.rows[method] = row{failures: o.rows[method].failures + 1, last: o.now()}
	case "OK":
		delete(o.rows, method)
	}
}

// Ready tells which kind of call keeps failing.
func (o *Operations) Ready(context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for method, row := range o.rows {
		if row.failures >= rowLength && o.now().Sub(row.last) < rowLasts {
			return fmt.Errorf("%d calls of %s failed, one after another, and none for the caller's sake; the log tells why", row.failures, method)
		}
	}
	return nil
}
