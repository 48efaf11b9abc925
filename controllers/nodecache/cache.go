package nodecache

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/operator/settled"
)

// Cache has all nodes, and every driver's view of them. The events of informers keep it up to date, and it shares its
// contents with their stores. It can be used from several goroutines.
type Cache struct {
	mu      sync.Mutex
	entries map[string]*entry
	views   map[string]*driverView
}

// entry is what is known of a node; any part may be missing.
type entry struct {
	node         *node
	registration *registration
	pods         []*pod
}

// fact is a trimmed object that tells something about a node.
type fact interface {
	client.Object
	// nodeName is the name of that node.
	nodeName() string
	in(*entry)
	out(*entry)
	// same reports whether nothing that matters has changed since an earlier version.
	same(before fact) bool
}

// New returns an empty cache.
func New() *Cache {
	return &Cache{entries: map[string]*entry{}, views: map[string]*driverView{}}
}

// Note records that an object was added, changed or deleted, and reports whether that matters to any driver. before is
// nil for an added object, after for a deleted one.
func (c *Cache) Note(before, after client.Object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, had := before.(fact)
	now, has := after.(fact)
	if had {
		c.leave(old)
	}
	if has {
		c.enter(now)
	}
	if had && has && now.same(old) {
		return false
	}
	for _, view := range c.views {
		if had {
			view.reopen(old.nodeName())
		}
		if has {
			view.reopen(now.nodeName())
		}
	}
	return true
}

func (c *Cache) enter(f fact) {
	at := c.entries[f.nodeName()]
	if at == nil {
		at = &entry{}
		c.entries[f.nodeName()] = at
	}
	f.in(at)
}

func (c *Cache) leave(f fact) {
	at := c.entries[f.nodeName()]
	if at == nil {
		return
	}
	f.out(at)
	if at.node == nil && at.registration == nil && len(at.pods) == 0 {
		delete(c.entries, f.nodeName())
	}
}

// Facts are what is known of a node, for one driver. They share their parts with the cache and must not be changed.
type Facts struct {
	// Node is nil if only pods are left of it.
	Node *corev1.Node
	// Registered are the CSI driver names that its kubelet has registered.
	Registered sets.Set[string]
	// Pods of the driver's node plugin.
	Pods []*corev1.Pod
	// Probes are the driver's pods that try a sandbox.
	Probes []*corev1.Pod
}

func (e *entry) facts(driver string) Facts {
	var out Facts
	if e == nil {
		return out
	}
	if e.node != nil {
		out.Node, out.Registered = e.node.typed(), e.registration.on(e.node)
	}
	for _, pod := range e.pods {
		switch of := pod.plugin.Value(); {
		case of.driver != driver:
		case of.sandbox != "":
			out.Probes = append(out.Probes, pod.typed())
		default:
			out.Pods = append(out.Pods, pod.typed())
		}
	}
	return out
}

// Judge reports whether a node is settled, and what it counts as.
type Judge func(Facts) (settled.Kind, bool)

// Look returns the nodes that a driver has to look at, sorted by name, and counts the settled ones. It judges the nodes that
// were not settled last time and those that have changed since. It judges all of them if basis differs from last time. Basis
// is what judge depends on besides the node, and must be comparable.
func (c *Cache) Look(driver string, basis any, judge Judge) ([]Facts, settled.Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.views[driver]
	if v == nil || v.basis != basis {
		v = &driverView{basis: basis, open: sets.KeySet(c.entries), settled: map[string]*tally{}, tallies: map[settled.Kind]*tally{}}
		c.views[driver] = v
	}
	var out []Facts
	for _, name := range sets.List(v.open) {
		facts := c.entries[name].facts(driver)
		if facts.Node == nil && len(facts.Pods) == 0 {
			v.open.Delete(name)
			continue
		}
		if facts.Node != nil {
			if kind, is := judge(facts); is {
				v.close(name, kind)
				continue
			}
		}
		out = append(out, facts)
	}
	return out, v.counts()
}

// All returns every node for a driver, sorted by name.
func (c *Cache) All(driver string) []Facts {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Facts, 0, len(c.entries))
	for _, name := range slices.Sorted(maps.Keys(c.entries)) {
		if facts := c.entries[name].facts(driver); facts.Node != nil || len(facts.Pods) > 0 {
			out = append(out, facts)
		}
	}
	return out
}

// Forget drops the view of a driver that is gone.
func (c *Cache) Forget(driver string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.views, driver)
}
