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
		indexes := make([]int, 3*nodesAtOnce)
		for i := range indexes {
			indexes[i] = 100 + i
		}
		go func() {
			ended <- writeNodes(indexes, func(index int) error {
				underWay.Add(1)
				<-released
				done.Add(int64(index))
				if index == 100 {
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
		for _, index := range indexes {
			sum += int64(index)
		}
		if done.Load() != sum {
			t.Errorf("indexes that add up to %d were written, want %d", done.Load(), sum)
		}
	})
}
