package controllers

import (
	"errors"

	"golang.org/x/sync/errgroup"
)

// nodesAtOnce bounds the writes under way. One after the other, the writes of thousands of nodes take as many round
// trips; this many get most of the time back and leave the API server to others.
const nodesAtOnce = 8

// writeNodes calls write for nodes, given by their places in the observation, a few at a time. One node's failure keeps
// no other from its turn.
func writeNodes(places []int, write func(place int) error) error {
	failures := make([]error, len(places))
	var writes errgroup.Group
	writes.SetLimit(nodesAtOnce)
	for i, place := range places {
		writes.Go(func() error {
			failures[i] = write(place)
			return nil
		})
	}
	return errors.Join(writes.Wait(), errors.Join(failures...))
}
