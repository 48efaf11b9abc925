package controllers

import (
	"errors"

	"golang.org/x/sync/errgroup"
)

// nodesAtOnce bounds the writes under way. One at a time, the writes of thousands of nodes take as many round trips. This
// many at a time saves most of that, and leaves the API server to others.
const nodesAtOnce = 8

// writeNodes calls write for nodes, given by their indexes, a few at a time. A failure for one node does
// not affect the others.
func writeNodes(indexes []int, write func(index int) error) error {
	failures := make([]error, len(indexes))
	var writes errgroup.Group
	writes.SetLimit(nodesAtOnce)
	for i, index := range indexes {
		writes.Go(func() error {
			failures[i] = write(index)
			return nil
		})
	}
	return errors.Join(writes.Wait(), errors.Join(failures...))
}
