package health

import (
	"context"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/recent"
)

// readinessAge is how old the answer to a readiness probe may be: young enough to report a change soon, and old enough that
// probes cost no more than a few calls of the runtime per second.
const readinessAge = 200 * time.Millisecond

// recently runs ready at most once in readinessAge: every client that reaches the port may probe, and each run asks the
// container runtime.
func recently(ready Check) Check {
	latest := recent.New(readinessAge, func(ctx context.Context) (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		return struct{}{}, ready.Ready(ctx)
	})
	return CheckFunc(func(ctx context.Context) error {
		_, err := latest.Get(ctx)
		return err
	})
}
