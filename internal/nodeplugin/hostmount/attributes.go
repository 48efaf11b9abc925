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

// Attributes looks at the root directory of a layer, which need not lie beneath the engine's root.
func (e *Engine) Attributes(ctx context.Context, layer string, form Form) (Attributes, error) {
	var stat unix.Stat_t
	err := e.do(ctx, func() error {
		dirs, release, err := formOf(form).open([]string{layer})
		if err != nil {
			return err
		}
		defer release()
		return unix.Stat(dirs[0], &stat)
	})
	if err != nil {
		return Attributes{}, fmt.Errorf("looking at the root of layer %s: %w", layer, err)
	}
	return Attributes{UID: stat.Uid, GID: stat.Gid, Mode: stat.Mode & 0o7777}, nil
}
