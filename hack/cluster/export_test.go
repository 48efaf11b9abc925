package cluster

import (
	"context"
	"errors"
)

// KillAll kills every recorded process and removes nothing.
func KillAll(c *Cluster) error {
	names := []string{controlPlaneProcess}
	for _, n := range c.state.Nodes {
		names = append(names, nodeProcess(n.Name))
	}
	var all []error
	for _, name := range names {
		all = append(all, c.process(name).Kill(context.Background()))
	}
	return errors.Join(all...)
}
