package content

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

var all = []contract.ImageContent{contract.ContentSetIDFiles, contract.ContentFileCapabilities, contract.ContentDeviceNodes}

// counted is a tree whose looks and holds are counted.
type counted struct {
	dir          string
	opens, holds atomic.Int64
	wait         chan struct{} // if not nil: a look waits until it is closed
	fails        error
}

func (c *counted) tree(id string) Tree {
	return Tree{
		ID: id,
		Hold: func(context.Context) (func(), error) {
			c.holds.Add(1)
			return func() { c.holds.Add(-1) }, nil
		},
		Open: func(context.Context) (*os.File, error) {
			c.opens.Add(1)
			if c.wait != nil {
				<-c.wait
			}
			if c.fails != nil {
				return nil, c.fails
			}
			return os.Open(c.dir)
		},
	}
}

func setUID(t *testing.T) *counted {
	t.Helper()
	dir := harmless(t)
	must(t, makes[contract.ContentSetIDFiles](filepath.Join(dir, "a/su")))
	return &counted{dir: dir}
}

func TestARefusalNamesTheFileAndWhatToDo(t *testing.T) {
	i, c := New(nil), setUID(t)
	err := i.Check(t.Context(), c.tree("one"), all)
	if !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	for _, word := range []string{"a set-uid or set-gid file", `"/a/su"`, "SetIDFiles", "chmod ug-s", "spec.security.refusedContent"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not say %s", err, word)
		}
	}
	for _, refused := range [][]contract.ImageContent{nil, {contract.ContentDeviceNodes, contract.ContentFileCapabilities}} {
		if err := i.Check(t.Context(), c.tree("one"), refused); err != nil {
			t.Errorf("with %q refused: %v", refused, err)
		}
	}
	if n := c.opens.Load(); n != 1 {
		t.Errorf("the tree was opened %d times", n)
	}
}

func TestWhereNothingIsRefusedNothingIsLookedAt(t *testing.T) {
	c := &counted{fails: errors.New("must not be opened")}
	if err := New(nil).Check(t.Context(), c.tree("one"), nil); err != nil || c.opens.Load() != 0 || c.holds.Load() != 0 {
		t.Errorf("%v, %d opens", err, c.opens.Load())
	}
}

func TestATreeThatIsTooLargeIsRefusedAtOnceTheNextTime(t *testing.T) {
	i, c := New(nil), &counted{dir: harmless(t)}
	i.bounds.entries = 3
	for range 2 {
		err := i.Check(t.Context(), c.tree("one"), all[:1])
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "more than 3 files") || !strings.Contains(err.Error(), "SetIDFiles") {
			t.Error(err)
		}
	}
	if n := c.opens.Load(); n != 1 {
		t.Errorf("the tree was opened %d times", n)
	}
}

// The kubelet gives up after two minutes and calls again.
func TestALookGoesOnWhenItsCallerHasGivenUp(t *testing.T) {
	i, c := New(nil), setUID(t)
	c.wait = make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := i.Check(ctx, c.tree("one"), all); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the next try") {
		t.Fatal(err)
	}
	if c.holds.Load() != 1 {
		t.Error("nothing holds the tree while it is looked through")
	}
	var callers sync.WaitGroup
	for range 10 {
		callers.Go(func() {
			if err := i.Check(t.Context(), c.tree("one"), all); !errors.Is(err, ErrRefused) {
				t.Error(err)
			}
		})
	}
	close(c.wait)
	callers.Wait()
	if opens, holds := c.opens.Load(), c.holds.Load(); opens != 1 || holds != 0 {
		t.Errorf("%d opens, and %d holds are left", opens, holds)
	}
}

func TestAFailureIsNotRemembered(t *testing.T) {
	for name, fails := range map[string]error{"an error": errors.New("disk"), "a panic": nil} {
		t.Run(name, func(t *testing.T) {
			i, c := New(nil), setUID(t)
			tree := c.tree("one")
			open := tree.Open
			tree.Open = func(context.Context) (*os.File, error) {
				if fails != nil {
					return nil, fails
				}
				panic("defect")
			}
			if err := i.Check(t.Context(), tree, all); err == nil || errors.Is(err, ErrRefused) || (fails != nil && !errors.Is(err, fails)) {
				t.Error(err)
			}
			tree.Open = open
			if err := i.Check(t.Context(), tree, all); !errors.Is(err, ErrRefused) {
				t.Error("the next try:", err)
			}
			if c.holds.Load() != 0 {
				t.Errorf("%d holds are left", c.holds.Load())
			}
		})
	}
}

// A tree on a file system that hangs, or a very large one, takes one turn.
func TestOneSlowTreeKeepsNoOtherWaiting(t *testing.T) {
	i, slow, quick := New(nil), setUID(t), setUID(t)
	slow.wait = make(chan struct{})
	defer close(slow.wait)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_ = i.Check(ctx, slow.tree("slow"), all)
	if err := i.Check(t.Context(), quick.tree("quick"), all); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

func TestALookThatTakesTooLongIsNoAnswer(t *testing.T) {
	i, c := New(nil), setUID(t)
	i.timeout = time.Nanosecond
	if err := i.Check(t.Context(), c.tree("one"), all); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	i.timeout = time.Minute
	if err := i.Check(t.Context(), c.tree("one"), all); !errors.Is(err, ErrRefused) {
		t.Error("the next try:", err)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	i, c := New(nil), &counted{dir: t.TempDir()}
	for n := range maxKnown + 10 {
		must(t, i.Check(t.Context(), c.tree(fmt.Sprint(n)), all))
	}
	if len(i.known) > maxKnown || len(i.looks) != 0 {
		t.Errorf("%d trees are remembered, and %d looks", len(i.known), len(i.looks))
	}
}
