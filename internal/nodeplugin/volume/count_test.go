package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestACountIsOfTheWholeTree(t *testing.T) {
	top := tree(t)
	for i := range 2 * namesAtOnce {
		if err := os.MkdirAll(filepath.Join(top, fmt.Sprint(i%2), fmt.Sprint(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	outside := t.TempDir()
	if err := errors.Join(
		os.WriteFile(filepath.Join(outside, "big"), make([]byte, 1<<20), 0o644),
		os.Symlink(outside, filepath.Join(top, "link")),
	); err != nil {
		t.Fatal(err)
	}
	c := newCounter()
	held, err := c.count(t.Context(), top, time.Minute)
	if err != nil || held.partly || held.wholeInodes() != 1+2+2*namesAtOnce+1 || held.bytes >= 1<<20+held.wholeInodes()*64<<10 {
		t.Errorf("%+v, %v", held, err)
	}
}

func TestAFileOfManyNamesIsCountedOnce(t *testing.T) {
	top := tree(t)
	const names, size = 300, 3 << 20
	file := filepath.Join(top, "0")
	if err := os.WriteFile(file, make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < names; i++ {
		if err := os.Link(file, filepath.Join(top, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	c := newCounter()
	held, err := c.count(t.Context(), top, time.Minute)
	if err != nil || held.wholeInodes() != 2 || held.bytes < size*99/100 || held.bytes > size*11/10 {
		t.Errorf("%d inodes, %d bytes, %v; want 2 inodes and about %d bytes", held.wholeInodes(), held.bytes, err, size)
	}
}

func TestATreeThatIsTooDeepIsCountedInPart(t *testing.T) {
	top := tree(t)
	nest(t, top, tooDeep)
	fewFiles(t)
	c := newCounter()
	held, err := c.count(t.Context(), top, time.Minute)
	if err != nil || !held.partly || held.wholeInodes() < openLevels || held.wholeInodes() >= tooDeep {
		t.Errorf("%+v, %v", held, err)
	}
}

func TestACountThatTakesTooLongIsOfAPart(t *testing.T) {
	top := tree(t)
	nest(t, top, 3)
	c := newCounter()
	if held, err := c.count(t.Context(), top, 0); err != nil || !held.partly || held.wholeInodes() != 1 {
		t.Errorf("without any time: %+v, %v", held, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.turn.Acquire(ctx, 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := c.count(ctx, top, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that has ended: %v", err)
	}
	c.turn.Release(1)
	if _, err := c.count(ctx, top, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that has ended, in its turn: %v", err)
	}
}

func TestCallsThatWaitedForACountShareIt(t *testing.T) {
	top := tree(t)
	c := newCounter()
	if err := c.turn.Acquire(t.Context(), 1); err != nil { // for the count that is made below
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	for range 5 {
		waiting.Go(func() {
			if held, err := c.count(t.Context(), top, time.Minute); err != nil || held.bytes != 42 {
				t.Errorf("%+v, %v", held, err)
			}
		})
	}
	time.Sleep(100 * time.Millisecond) // they have all asked by then
	c.last[top] = counted{holdings{bytes: 42}, time.Now()}
	c.turn.Release(1)
	waiting.Wait()
	if held, err := c.count(t.Context(), top, time.Minute); err != nil || held.bytes == 42 {
		t.Errorf("a later call got the earlier count: %+v, %v", held, err)
	}
	c.last["long ago"] = counted{at: time.Now().Add(-2 * countKept)}
	if _, err := c.count(t.Context(), top, time.Minute); err != nil || len(c.last) != 1 {
		t.Errorf("kept are %v (%v)", c.last, err)
	}
}

// A pod may put a link in a directory's place between the look at it and its opening.
func TestACountStaysInItsTree(t *testing.T) {
	top, outside := tree(t), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(top, "swapped")); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := openBeneath(dir, "swapped"); !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		t.Errorf("opening a link: %v", err)
	}
}
