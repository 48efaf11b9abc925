package roster

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/operator/quiet"
)

// Roster is all nodes, and every driver's account of them. It is made of the events of the informers whose caches hold what
// is kept, and so is as right as they are. It can be used from several goroutines.
type Roster struct {
	mu       sync.Mutex
	places   map[string]*place
	accounts map[string]*account
}

// place is what is known of a node; any part may be missing.
type place struct {
	node         *node
	registration *registration
	pods         []*pod
}

// fact is something kept.
type fact interface {
	client.Object
	// place is the name of the node that it tells about.
	place() string
	in(*place)
	out(*place)
	// same says that nothing that matters has changed since an earlier version.
	same(before fact) bool
}

// New returns an empty roster.
func New() *Roster {
	return &Roster{places: map[string]*place{}, accounts: map[string]*account{}}
}

// Note takes in that an object has come, changed, or gone, and says whether that matters to anybody. What has come has
// no state before, what has gone none after: nil.
func (r *Roster) Note(before, after client.Object) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, had := before.(fact)
	now, has := after.(fact)
	if had {
		r.leave(old)
	}
	if has {
		r.enter(now)
	}
	if had && has && now.same(old) {
		return false
	}
	for _, account := range r.accounts {
		if had {
			account.reopen(old.place())
		}
		if has {
			account.reopen(now.place())
		}
	}
	return true
}

func (r *Roster) enter(f fact) {
	at := r.places[f.place()]
	if at == nil {
		at = &place{}
		r.places[f.place()] = at
	}
	f.in(at)
}

func (r *Roster) leave(f fact) {
	at := r.places[f.place()]
	if at == nil {
		return
	}
	f.out(at)
	if at.node == nil && at.registration == nil && len(at.pods) == 0 {
		delete(r.places, f.place())
	}
}

// Facts are what is known of a node, for one driver. They share their parts with the cache: nobody may change those.
type Facts struct {
	// Node is nil if only pods are left of it.
	Node *corev1.Node
	// Registered are the CSI driver names that its kubelet has registered.
	Registered sets.Set[string]
	// Pods of the driver's node plugin.
	Pods []*corev1.Pod
}

func (p *place) facts(driver string) Facts {
	var out Facts
	if p == nil {
		return out
	}
	if p.node != nil {
		out.Node, out.Registered = p.node.typed(), p.registration.on(p.node)
	}
	for _, pod := range p.pods {
		if pod.plugin.Value().driver == driver {
			out.Pods = append(out.Pods, pod.typed())
		}
	}
	return out
}

// Judge says whether a node is quiet, and what it counts as.
type Judge func(Facts) (quiet.Kind, bool)

// Look returns the nodes to look at for a driver, by their names, and the numbers of the quiet ones. It judges those nodes that were not
// quiet last time, and those of which something has changed since; all of them if the judgement has another basis.
func (r *Roster) Look(driver, basis string, judge Judge) ([]Facts, quiet.Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.accounts[driver]
	if a == nil || a.basis != basis {
		a = &account{basis: basis, open: sets.KeySet(r.places), quiet: map[string]*tally{}, tallies: map[quiet.Kind]*tally{}}
		r.accounts[driver] = a
	}
	var out []Facts
	for _, name := range sets.List(a.open) {
		facts := r.places[name].facts(driver)
		if facts.Node == nil && len(facts.Pods) == 0 {
			a.open.Delete(name)
			continue
		}
		if facts.Node != nil {
			if kind, is := judge(facts); is {
				a.close(name, kind)
				continue
			}
		}
		out = append(out, facts)
	}
	return out, a.counts()
}

// All returns every node for a driver, by their names.
func (r *Roster) All(driver string) []Facts {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Facts, 0, len(r.places))
	for _, name := range slices.Sorted(maps.Keys(r.places)) {
		if facts := r.places[name].facts(driver); facts.Node != nil || len(facts.Pods) > 0 {
			out = append(out, facts)
		}
	}
	return out
}

// Forget drops the account of a driver that is gone.
func (r *Roster) Forget(driver string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.accounts, driver)
}
