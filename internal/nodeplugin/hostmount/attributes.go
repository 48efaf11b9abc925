package hostmount

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// Attributes are a directory's owner, group and permissions, set-ID and sticky bits included (chmod(2)).
type Attributes struct {
	UID, GID, Mode uint32
}

// Attributes looks at a directory of the engine's namespace, which need not lie beneath the root: image layers do not.
func (e *Engine) Attributes(ctx context.Context, dir string) (Attributes, error) {
	var stat unix.Stat_t
	err := e.do(ctx, func() error { return unix.Stat(dir, &stat) })
	if err != nil {
		return Attributes{}, fmt.Errorf("looking at directory %s: %w", dir, err)
	}
	return Attributes{UID: stat.Uid, GID: stat.Gid, Mode: stat.Mode & 0o7777}, nil
}
