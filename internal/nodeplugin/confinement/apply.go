package confinement

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// Confinement is what the process keeps to.
type Confinement struct {
	kept    uint64
	filters int // on every thread; 0 on kernels that do not count them
}

// Apply confines every thread of the process, those included that start later, for good:
//
//   - it keeps no capability but those in keep;
//   - it makes no system call but those of package privileges: no program, no namespace, no tracing, no new code in memory;
//   - no privilege can come from a program that it would run (no_new_privs), and other processes cannot read its memory unless
//     they may trace any process (prctl(2), PR_SET_DUMPABLE).
//
// What the container's own profiles forbid stays forbidden. Call it when the threads that enter a namespace are there. Apply
// fails if any of it is not in force afterwards, and in a program built with cgo, where the Go runtime cannot reach all threads.
func Apply(keep []privileges.Capability) (*Confinement, error) {
	c := &Confinement{kept: privileges.Bits(keep)}
	if err := c.dropCapabilities(); err != nil {
		return nil, fmt.Errorf("dropping capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("hiding the process's memory from others (PR_SET_DUMPABLE): %w", err)
	}
	var err error
	if c.filters, err = install(unix.Getpid()); err != nil {
		return nil, err
	}
	return c, c.check()
}
