package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/confinement"
	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// knows is a step in which the node plugin is told that its container has profiles beside the runtime's filter, as FlagConfinement has
// them, and finds what it lacks of them: the words, or nothing.
func knows(profiles, lacks string) step {
	name := "the node plugin finds that it has " + profiles
	if lacks != "" {
		name = "the node plugin finds that it does not have " + profiles
	}
	return step{name, func(c cell) error {
		return c.inPlugin("told", "container=Unprivileged;seccomp=RuntimeDefault;"+profiles, lacks)
	}}
}

// told looks at the process as the node plugin does when it starts.
func told(ctx context.Context, text, lacks string) error {
	asked, err := contract.ParseConfinement(text)
	if err != nil {
		return err
	}
	err = confinement.InContainer(asked, privileges.Container(contract.AccessReadWrite)).Ready(ctx)
	less := (*confinement.Less)(nil)
	switch {
	case lacks == "" && err != nil:
		return err
	case lacks != "" && (!errors.As(err, &less) || !strings.Contains(err.Error(), lacks)):
		return fmt.Errorf("of %s the node plugin lacks %q, and finds: %w", text, lacks, errors.Join(err, errors.New("that is all")))
	}
	return nil
}
