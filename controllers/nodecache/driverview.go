package nodecache

import (
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/internal/operator/settled"
)

// driverView is one driver's view of the nodes.
type driverView struct {
	// basis of the judgements in it.
	basis any
	// open has the names of the nodes to look at, settled the other nodes and what they count as.
	open    sets.Set[string]
	settled map[string]*tally
	tallies map[settled.Kind]*tally
}

// tally is the number of nodes that count as the same.
type tally struct {
	kind  settled.Kind
	nodes int32
}

// close counts a node as settled.
func (v *driverView) close(name string, kind settled.Kind) {
	t := v.tallies[kind]
	if t == nil {
		t = &tally{kind: kind}
		v.tallies[kind] = t
	}
	t.nodes++
	v.settled[name] = t
	v.open.Delete(name)
}

// reopen has the next Look judge a node again.
func (v *driverView) reopen(name string) {
	if t := v.settled[name]; t != nil {
		delete(v.settled, name)
		if t.nodes--; t.nodes == 0 {
			delete(v.tallies, t.kind)
		}
	}
	v.open.Insert(name)
}

func (v *driverView) counts() settled.Counts {
	out := make(settled.Counts, len(v.tallies))
	for kind, t := range v.tallies {
		out[kind] = t.nodes
	}
	return out
}
