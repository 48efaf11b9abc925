package nodecache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/settled"
)

// cluster is what informers hold, with the cache that their events make.
type cluster struct {
	*testing.T
	*Cache
	objects map[string]client.Object
	judged  int
}

func newCluster(t *testing.T) *cluster {
	return &cluster{T: t, Cache: New(), objects: map[string]client.Object{}}
}

// set is an event of an informer: an object comes or changes.
func (c *cluster) set(object client.Object) bool {
	c.Helper()
	var now client.Object
	switch object.(type) {
	case *corev1.Node:
		now = keep[*node](c.T, TrimNode, object)
	case *storagev1.CSINode:
		now = keep[*registration](c.T, TrimCSINode, object)
	case *corev1.Pod:
		now = keep[*pod](c.T, TrimPod, object)
	}
	key := keyOf(object)
	before := c.objects[key]
	c.objects[key] = now
	return c.Note(before, now)
}

// remove is the event that an object is gone.
func (c *cluster) remove(key string) {
	c.Note(c.objects[key], nil)
	delete(c.objects, key)
}

func keyOf(object client.Object) string { return fmt.Sprintf("%T/%s", object, object.GetName()) }

// look judges a node to be settled that is registered and has one pod, by its pool.
func (c *cluster) look(basis string) string {
	nodes, counts := c.Look("driver", basis, func(f Facts) (settled.Kind, bool) {
		c.judged++
		return settled.Kind{Class: f.Node.Labels["pool"]}, f.Registered.Has("driver") && len(f.Pods) == 1
	})
	return told(nodes) + fmt.Sprint(map[settled.Kind]int32(counts))
}

func told(facts []Facts) string {
	var out []string
	for _, f := range facts {
		text := "no node"
		if f.Node != nil {
			text = fmt.Sprint(f.Node.Name, f.Node.Labels, f.Registered.UnsortedList())
		}
		var pods []string
		for _, pod := range f.Pods {
			pods = append(pods, pod.Name)
		}
		slices.Sort(pods)
		out = append(out, text+" "+strings.Join(pods, " "))
	}
	slices.Sort(out)
	return strings.Join(out, "\n") + "\n"
}

func aNode(name, pool string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{"pool": pool}}}
}

func aCSINode(name string, drivers ...string) *storagev1.CSINode {
	out := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, driver := range drivers {
		out.Spec.Drivers = append(out.Spec.Drivers, storagev1.CSINodeDriver{Name: driver})
	}
	return out
}

func aPod(name, node, driver string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "n", Labels: map[string]string{contract.DriverLabel: driver}},
		Spec: corev1.PodSpec{NodeName: node}}
}

// serving is a cluster in which every node is settled.
func serving(t *testing.T, nodes int) *cluster {
	c := newCluster(t)
	for i := range nodes {
		name := fmt.Sprintf("n%d", i)
		c.set(aNode(name, "a"))
		c.set(aCSINode(name, "driver"))
		c.set(aPod("pod-"+name, name, "driver"))
	}
	c.expect("1", fmt.Sprintf("\nmap[{a  }:%d]", nodes))
	c.judged = 0
	return c
}

func (c *cluster) expect(basis, want string) {
	c.Helper()
	if diff := cmp.Diff(want, c.look(basis)); diff != "" {
		c.Errorf("nodes to look at, and counts (-want +got):\n%s", diff)
	}
}

func TestOnlyWhatChangedIsJudgedAgain(t *testing.T) {
	c := serving(t, 100)
	c.expect("1", "\nmap[{a  }:100]")
	if c.judged != 0 {
		t.Errorf("%d nodes were judged though nothing had changed", c.judged)
	}
	c.set(aNode("n7", "b"))
	c.set(aCSINode("n8"))
	c.set(aPod("more", "n9", "driver"))
	c.expect("1", "n8map[pool:a] [] pod-n8\nn9map[pool:a] [driver] more pod-n9\nmap[{a  }:97 {b  }:1]")
	if c.judged != 3 {
		t.Errorf("%d nodes were judged for 3 that changed", c.judged)
	}
	c.set(aCSINode("n8", "driver"))
	c.remove("*v1.Pod/more")
	c.expect("1", "\nmap[{a  }:99 {b  }:1]")
}

func TestAHeartbeatChangesNothingButWhatIsKept(t *testing.T) {
	c := serving(t, 2)
	beat := aNode("n0", "a")
	beat.ResourceVersion = "2"
	if c.set(beat) {
		t.Error("a heartbeat matters")
	}
	if c.look("1"); c.judged != 0 {
		t.Error("a node was judged because of a heartbeat")
	}
	if c.entries["n0"].node != c.objects[keyOf(beat)] {
		t.Error("the cache and the informer's store each hold a version of the node")
	}
}

func TestAnotherBasisJudgesEveryNodeAgain(t *testing.T) {
	c := serving(t, 5)
	c.expect("2", "\nmap[{a  }:5]")
	if c.judged != 5 {
		t.Errorf("%d of 5 nodes were judged", c.judged)
	}
}

func TestANodeThatIsGoneIsCountedNoMore(t *testing.T) {
	c := serving(t, 2)
	c.remove("*v1.Node/n0")
	c.expect("1", "no node pod-n0\nmap[{a  }:1]")
	c.remove("*v1.Pod/pod-n0")
	c.remove("*v1.CSINode/n0")
	c.expect("1", "\nmap[{a  }:1]")
	if open := c.views["driver"].open; len(c.entries) != 1 || len(open) != 0 {
		t.Errorf("%d entries are kept of 1 node, and %v are to be looked at", len(c.entries), open)
	}
	c.remove("*v1.Node/n1")
	c.remove("*v1.Pod/pod-n1")
	c.expect("1", "\nmap[]")
}

func TestAPodOfAnotherDriverIsNotOurs(t *testing.T) {
	c := serving(t, 1)
	c.set(aPod("other", "n0", "another"))
	c.expect("1", "\nmap[{a  }:1]")
	c.set(aPod("pod-n0", "n0", "another"))
	c.expect("1", "n0map[pool:a] [driver] \nmap[]")
}

func TestAProbeOfSandboxesIsNoNodePlugin(t *testing.T) {
	c := serving(t, 1)
	probe := aPod("probe", "n0", "driver")
	probe.Labels[contract.SandboxLabel], probe.Labels[contract.RevisionLabel] = contract.SandboxEngine, "r"
	c.set(probe)
	c.expect("1", "\nmap[{a  }:1]")
	facts := c.All("driver")
	if len(facts) != 1 || len(facts[0].Pods) != 1 || len(facts[0].Probes) != 1 || facts[0].Probes[0].Labels[contract.RevisionLabel] != "r" {
		t.Errorf("the node has %+v", facts)
	}
}

func TestEveryNodeIsThereForWhoAsks(t *testing.T) {
	c := serving(t, 2)
	c.set(aCSINode("only-registered", "driver"))
	want := "n0map[pool:a] [driver] pod-n0\nn1map[pool:a] [driver] pod-n1\n"
	if diff := cmp.Diff(want, told(c.All("driver"))); diff != "" {
		t.Errorf("all nodes (-want +got):\n%s", diff)
	}
}

// Whatever happens, a cache that has seen it all says the same as one that only sees how it is now.
func TestTheViewIsAlwaysThatOfAFreshCache(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	c := newCluster(t)
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	for step := range 5000 {
		name := fmt.Sprintf("n%d", random.IntN(8))
		objects := []client.Object{aNode(name, pick("a", "b")), aCSINode(name, pick("driver", "other")),
			aPod("pod"+name, name, pick("driver", "another")), aPod("stray", pick("n1", "n2", ""), "driver")}
		object := objects[random.IntN(len(objects))]
		if key := keyOf(object); random.IntN(3) == 0 && c.objects[key] != nil {
			c.remove(key)
		} else {
			c.set(object)
		}
		if random.IntN(4) > 0 {
			continue // Several changes are looked at together.
		}
		fresh := newCluster(t)
		for _, object := range c.objects {
			fresh.Note(nil, object)
		}
		if diff := cmp.Diff(fresh.look("1"), c.look("1")); diff != "" {
			t.Fatalf("step %d (-fresh +view):\n%s", step, diff)
		}
	}
}

func TestNodesComeByTheirNames(t *testing.T) {
	c := newCluster(t)
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprintf("n%02d", i))
		c.set(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: want[i]}})
	}
	looked, _ := c.Look("driver", "", func(Facts) (settled.Kind, bool) { return settled.Kind{}, false })
	for name, facts := range map[string][]Facts{"looked at": looked, "all": c.All("driver")} {
		var got []string
		for _, of := range facts {
			got = append(got, of.Node.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
