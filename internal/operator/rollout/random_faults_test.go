package rollout

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
)

// storm is a world in which a change from v1 to v2 meets nodes that go away, reboot, flap and are exchanged, as a sequence of
// bytes says. Times are a tenth of the defaults', so that a sequence is short.
type storm struct {
	*world
	bytes []byte
	// fault is what is wrong with v2.
	fault fault
	// until is when a node reports again, unreadyUntil when its node plugin may be ready again.
	until, unreadyUntil map[string]time.Time
	// original is the pod that a node had before the change; later nodes have none.
	original map[string]string
	// had are the nodes that have had v2.
	had map[string]bool
	// log is what happened, to be shown with a failure.
	log []string
}

// fault of a change.
type fault int

const (
	sound       fault = iota // nothing is wrong
	everywhere               // it works on no node
	inOneClass               // it works on no node of the first class
	uncreatable              // its pods cannot be created
	oneWay                   // it fails on some nodes, and v1 works on no node that had v2
	faults
)

func (f fault) String() string {
	return [faults]string{"sound", "bad everywhere", "bad in one class", "never created", "no way back"}[f]
}

// next takes a number below a bound from the sequence; 0 when it has ended.
func (s *storm) next(bound int) int {
	if len(s.bytes) == 0 {
		return 0
	}
	out := int(s.bytes[0]) % bound
	s.bytes = s.bytes[1:]
	return out
}

func newStorm(t *testing.T, bytes []byte) *storm {
	s := &storm{bytes: bytes, until: map[string]time.Time{}, unreadyUntil: map[string]time.Time{}, original: map[string]string{}, had: map[string]bool{}}
	classes := map[string]int{}
	for i := range 1 + s.next(3) {
		classes[string(rune('a'+i))] = 1 + s.next(8)
	}
	s.world = newWorld(t, classes)
	s.fault = fault(s.next(int(faults)))
	s.spec.MinReadySeconds, s.spec.ProgressDeadlineSeconds = ptr.To[int32](3), ptr.To[int32](30)
	s.spec.MaxUnavailable = ptr.To(intstr.FromInt(1 + s.next(3)))
	s.spec.Canary = &v1alpha1.Canary{Nodes: ptr.To(int32(s.next(3)))}
	s.bad = func(node, image string) bool {
		return s.faulty(node, image) || s.now.Before(s.unreadyUntil[node])
	}
	s.refused = func(_, image string) bool { return s.fault == uncreatable && image == "v2" }
	return s
}

// faulty reports whether an image never works on a node.
func (s *storm) faulty(node, image string) bool {
	switch s.fault {
	case everywhere:
		return image == "v2"
	case inOneClass:
		return image == "v2" && strings.HasPrefix(node, "a")
	case oneWay:
		return image == "v1" && s.had[node] || image == "v2" && strings.HasSuffix(node, "3")
	case sound, uncreatable, faults:
	}
	return false
}

// run takes a change through a storm, and then through a time without faults.
func (s *storm) run() {
	s.Helper()
	s.untilThat("an installation", func() bool { return s.last.Status.Phase == v1alpha1.PhaseComplete })
	for _, c := range s.classes {
		for node, pod := range c.pods {
			s.original[node] = pod.Name
		}
	}
	s.change("v2")
	for len(s.bytes) > 0 && !s.Failed() {
		s.happens()
		s.step()
	}
	s.until, s.unreadyUntil = map[string]time.Time{}, map[string]time.Time{}
	for range 700 {
		if s.step(); s.ended() {
			break
		}
	}
	for range 40 { // What has ended stays so.
		s.step()
	}
	if !s.Failed() {
		s.wantEnd()
	}
	if s.Failed() {
		s.Errorf("a change that is %s, canaries %d, maxUnavailable %s; what happened:\n%s", s.fault, *s.spec.Canary.Nodes, s.spec.MaxUnavailable, strings.Join(s.log, "\n"))
	}
}

// step is a decision and the second after it.
func (s *storm) step() {
	s.Helper()
	for _, c := range s.classes {
		for i := range c.nodes {
			node := &c.nodes[i]
			if is := s.now.Before(s.until[node.Name]); is != node.Away {
				node.Away, node.Back = is, s.now
			}
		}
	}
	s.decide()
	for name, c := range s.classes {
		s.check(name, c)
	}
}

// happens does to the nodes what the sequence says.
func (s *storm) happens() {
	names := slices.Sorted(maps.Keys(s.classes))
	name := names[s.next(len(names))]
	c := s.classes[name]
	node := c.nodes[s.next(len(c.nodes))].Name
	lasts := time.Duration(1+s.next(50)) * time.Second
	var what string
	switch s.next(12) {
	case 0:
		what, s.until[node] = "is away", s.now.Add(lasts)
	case 1:
		what, s.unreadyUntil[node] = "is not ready", s.now.Add(lasts)
	case 2:
		what, s.until[node], s.unreadyUntil[node] = "reboots", s.now.Add(lasts), s.now.Add(lasts+5*time.Second)
	case 3:
		what = "is exchanged"
		c.nodes = slices.DeleteFunc(c.nodes, func(n placement.Node) bool { return n.Name == node })
		delete(c.pods, node)
		s.join(name, fmt.Sprintf("%s-new-%d", name, s.now.Unix()))
	case 4, 5:
		what = "and all others are away"
		s.eachNode(func(n *placement.Node) { s.until[n.Name] = s.now.Add(lasts / 10) })
	case 6, 7:
		what = "and all others are not ready"
		s.eachNode(func(n *placement.Node) { s.unreadyUntil[n.Name] = s.now.Add(lasts / 10) })
	case 8:
		what, s.last.Seen = "nothing, but the operator starts anew", nil
	default:
		for range 1 + s.next(20) {
			s.step()
		}
		return
	}
	s.log = append(s.log, fmt.Sprintf("%s: %s %s for %s; images %v, status %+v", s.now.Format("04:05"), node, what, lasts, s.images(), s.last.Status))
}

func (s *storm) eachNode(do func(*placement.Node)) {
	for _, c := range s.classes {
		for i := range c.nodes {
			do(&c.nodes[i])
		}
	}
}

// check holds a class to what is promised at any time.
func (s *storm) check(name string, c *worldClass) {
	s.Helper()
	record, _, err := readRecord(c.live)
	if err != nil {
		s.Fatal(err)
	}
	if s.fault != sound && s.fault != oneWay && record.Good != nil && image(record.Good.Spec) != "v1" {
		s.Errorf("%s: %s is the good form of class %s", s.now.Format("04:05"), image(record.Good.Spec), name)
	}
	if len(record.Broken) > maxBroken {
		s.Errorf("%d nodes are remembered", len(record.Broken))
	}
	taken := []string{}
	for _, node := range c.nodes {
		pod := c.pods[node.Name]
		if pod != nil && image(pod.Spec) == "v2" {
			s.had[node.Name] = true
		}
		before, was := s.original[node.Name]
		switch {
		case !was || pod != nil && pod.Name == before || slices.Contains(record.Broken, node.Name):
		case pod == nil && s.fault != sound, pod != nil && s.faulty(node.Name, image(pod.Spec)):
			taken = append(taken, node.Name)
		}
	}
	canaries := int(*s.spec.Canary.Nodes)
	if s.fault == oneWay {
		canaries = max(1, canaries) // The first node that is rolled back is one.
	}
	if most := canaries + s.spec.MaxUnavailable.IntValue(); len(taken) > most {
		s.Errorf("%s: %d nodes of class %s are taken down by the change, %v; at most %d may be", s.now.Format("04:05"), len(taken), name, taken, most)
	}
}

// ended reports whether the world is as it has to be in the end. A sound change may have been rolled back, if a node plugin
// was not ready for too long; and where there is no way back, it depends on which nodes there are.
func (s *storm) ended() bool {
	rolledBack := s.last.Status.Phase == v1alpha1.PhaseRolledBack && s.count("v1") == len(s.images())
	arrived := s.last.Status.Phase == v1alpha1.PhaseComplete && s.count("v2") == len(s.images())
	switch s.fault {
	case sound:
		return arrived || rolledBack
	case oneWay:
		return arrived || rolledBack || s.last.Stopped != ""
	case everywhere, inOneClass, uncreatable, faults:
	}
	return rolledBack
}

func (s *storm) wantEnd() {
	s.Helper()
	if !s.ended() {
		s.Errorf("in the end, images %v, status %+v", s.images(), s.last.Status)
	}
}

// sequence is a storm from a seed.
func sequence(seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 0))
	out := make([]byte, 20+random.IntN(400))
	for i := range out {
		out[i] = byte(random.Uint32())
	}
	return out
}

const storms = 40

// Whatever happens to the nodes: a change that does not work takes down no more nodes of a class than canaries and
// maxUnavailable allow, and never becomes the form to roll back to; and when the faults have ended, it has been rolled
// back, and a sound one has arrived. It takes about two seconds.
func TestNodeFaultsNeitherSpreadABadChangeNorStopAGoodOne(t *testing.T) {
	arrived := 0
	for seed := range uint64(storms) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			s := newStorm(t, sequence(seed))
			s.run()
			if s.fault == sound && s.last.Status.Phase == v1alpha1.PhaseComplete {
				arrived++
			}
		})
	}
	if arrived < storms/10 {
		t.Errorf("only %d sound changes of %d have arrived: too many faults to show anything", arrived, storms)
	}
}

func FuzzNodeFaults(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(sequence(seed))
	}
	f.Fuzz(func(t *testing.T, bytes []byte) {
		const longest = 500 // A longer one only takes longer.
		newStorm(t, bytes[:min(len(bytes), longest)]).run()
	})
}
