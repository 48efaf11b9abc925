package roster

import (
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/internal/operator/quiet"
)

// account is a driver's view of the nodes.
type account struct {
	// basis of the judgements in it.
	basis string
	// open are the names of the nodes to look at, quiet the others with what they count as.
	open    sets.Set[string]
	quiet   map[string]*tally
	tallies map[quiet.Kind]*tally
}

// tally is the number of nodes that count as the same.
type tally struct {
	kind  quiet.Kind
	nodes int32
}

// close takes a node out of those to look at.
func (a *account) close(name string, kind quiet.Kind) {
	t := a.tallies[kind]
	if t == nil {
		t = &tally{kind: kind}
		a.tallies[kind] = t
	}
	t.nodes++
	a.quiet[name] = t
	a.open.Delete(name)
}

// reopen has a node looked at again.
func (a *account) reopen(name string) {
	if t := a.quiet[name]; t != nil {
		delete(a.quiet, name)
		if t.nodes--; t.nodes == 0 {
			delete(a.tallies, t.kind)
		}
	}
	a.open.Insert(name)
}

func (a *account) counts() quiet.Counts {
	out := make(quiet.Counts, len(a.tallies))
	for kind, t := range a.tallies {
		out[kind] = t.nodes
	}
	return out
}
