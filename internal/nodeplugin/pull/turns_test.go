package pull

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// queue has pulls wait for their turn, in this order, and returns where they note that they got it.
func queue(t *turns, who ...string) *[]string {
	got := &[]string{}
	for _, name := range who {
		go func() {
			if t.take(context.Background(), name) == nil {
				*got = append(*got, name) // one at a time has the turn
				t.give()
			}
		}()
		synctest.Wait()
	}
	return got
}

func TestAPodWithManyImagesKeepsNoOtherWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		if err := turns.take(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
		got := queue(turns, "many", "many", "many", "many", "one", "other", "one")
		turns.give()
		synctest.Wait()
		if order := strings.Join(*got, " "); order != "many one other many one many many" {
			t.Errorf("order %s", order)
		}
		if turns.free != 1 || len(turns.order) != 0 || len(turns.waiting) != 0 {
			t.Errorf("left %+v", turns)
		}
	})
}

func TestWhoLeavesTheQueueTakesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		if err := turns.take(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var left error
		go func() { left = turns.take(ctx, "leaves") }()
		synctest.Wait()
		got := queue(turns, "stays")
		cancel()
		synctest.Wait()
		if !errors.Is(left, context.Canceled) {
			t.Errorf("who left got %v", left)
		}
		turns.give()
		synctest.Wait()
		if !slices.Equal(*got, []string{"stays"}) || turns.free != 1 {
			t.Errorf("got %q, free %d", *got, turns.free)
		}
		if err := turns.take(ctx, "late"); !errors.Is(err, context.Canceled) || turns.free != 1 {
			t.Errorf("who came too late got %v, free %d", err, turns.free)
		}
	})
}

func TestAsManyRunAsMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(3)
		for range 3 {
			if err := turns.take(t.Context(), "pod"); err != nil {
				t.Fatal(err)
			}
		}
		got := queue(turns, "waits")
		if len(*got) != 0 {
			t.Error("four run where three may")
		}
		turns.give()
		synctest.Wait()
		if len(*got) != 1 {
			t.Error("the turn was not passed on")
		}
	})
}
