package controllers

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestNodesAreWrittenAFewAtATimeAndOneFailureStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("refused")
		var underWay, done atomic.Int64
		released := make(chan struct{})
		ended := make(chan error, 1)
		places := make([]int, 3*nodesAtOnce)
		for i := range places {
			places[i] = 100 + i
		}
		go func() {
			ended <- writeNodes(places, func(place int) error {
				underWay.Add(1)
				<-released
				done.Add(int64(place))
				if place == 100 {
					return broken
				}
				return nil
			})
		}()
		synctest.Wait()
		if got := underWay.Load(); got != nodesAtOnce {
			t.Errorf("%d writes are under way at a time, want %d", got, nodesAtOnce)
		}
		close(released)
		if err := <-ended; !errors.Is(err, broken) {
			t.Errorf("error %v, want the failure of the first node", err)
		}
		sum := int64(0)
		for _, place := range places {
			sum += int64(place)
		}
		if done.Load() != sum {
			t.Errorf("places that add up to %d were written, want %d", done.Load(), sum)
		}
	})
}
