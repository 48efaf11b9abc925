package settled_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/operator/rollout"
	"github.com/image-csi/image-csi-operator/internal/operator/settled"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

var (
	now     = time.Unix(100000, 0)
	names   = []string{"driver", "alias"}
	classes = []string{nodeclass.Containerd, nodeclass.CRIO}
)

func theDriver() *v1alpha1.ImageCSIDriver {
	out := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "driver", Generation: 1}}
	out.Spec.NodePlugin.NodeSelector = map[string]v1alpha1.LabelValue{"pool": "a"}
	out.Spec.Rollout.MinReadySeconds = ptr.To[int32](30)
	return out
}

func rendered(class, image string) *appsv1.DaemonSet {
	out := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: class, Labels: map[string]string{contract.NodeClassLabel: class}}}
	out.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
	out.Spec.Template.Labels = map[string]string{contract.NodeClassLabel: class}
	out.Spec.Template.Spec.Containers = []corev1.Container{{Name: "node-plugin", Image: image}}
	return out
}

// provenDaemonSet returns a class's DaemonSet after its first form has worked on a node.
func provenDaemonSet(t *testing.T, class string) *appsv1.DaemonSet {
	t.Helper()
	in := rollout.Class{Rendered: rendered(class, "v1"), Nodes: []placement.Node{{
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "first"}}, Registered: sets.New(names...)}}}
	var sightings rollout.Sightings
	for i := range 4 {
		decision, err := rollout.Decide(rollout.Input{Names: names, Generation: 1, Now: now.Add(time.Duration(i) * time.Hour), Seen: sightings, Classes: []rollout.Class{in}})
		if err != nil {
			t.Fatal(err)
		}
		in.Live, sightings = decision.DaemonSets[0], decision.Seen
		in.Live.Generation, in.Live.Status.ObservedGeneration = 1, 1
		in.Pods = []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: in.Live.Spec.Template.Labels}, Spec: corev1.PodSpec{NodeName: "first"}}}
		in.Pods[0].Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return in.Live
}

// place is a node with what the driver has there.
type place struct {
	node       *corev1.Node
	registered sets.Set[string]
	pods       []*corev1.Pod
}

// well is a node on which all is as it should be.
func well(i int, class, revision string) *place {
	name := fmt.Sprintf("n%02d", i)
	runtime := map[string]string{nodeclass.Containerd: "containerd://2.1.4", nodeclass.CRIO: "cri-o://1.34.0"}[class]
	out := &place{node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pool": "a", contract.NodeClassLabel: class}}},
		registered: sets.New(names...), pods: []*corev1.Pod{pod(name, class, revision)}}
	out.node.Status.NodeInfo = corev1.NodeSystemInfo{OperatingSystem: "linux", ContainerRuntimeVersion: runtime}
	out.node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	return out
}

func pod(node, class, revision string) *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod-" + node, UID: types.UID(node),
		Labels: map[string]string{contract.NodeClassLabel: class, contract.RevisionLabel: revision}}, Spec: corev1.PodSpec{NodeName: node}}
	out.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Minute))}}
	return out
}

// harmless is what can be otherwise on a node without anything to be done or told while nothing is rolled out.
func harmless() map[string]func(*place) {
	return map[string]func(*place){
		"away":      func(p *place) { p.node.Status.Conditions[0].Status = corev1.ConditionUnknown },
		"just back": func(p *place) { p.node.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-time.Second)) },
		"pod not ready": func(p *place) {
			eachPod(p, func(pod *corev1.Pod) { pod.Status.Conditions[0].Status = corev1.ConditionFalse })
		},
		"pod just ready": func(p *place) {
			eachPod(p, func(pod *corev1.Pod) { pod.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now) })
		},
	}
}

// faults are what can be otherwise on a node.
func faults() map[string]func(*place) {
	return map[string]func(*place){
		"no class":       func(p *place) { delete(p.node.Labels, contract.NodeClassLabel) },
		"another class":  func(p *place) { p.node.Labels[contract.NodeClassLabel] = "other" },
		"other runtime":  func(p *place) { p.node.Status.NodeInfo.ContainerRuntimeVersion = "cri-o://1.34.0" },
		"not selected":   func(p *place) { p.node.Labels["pool"] = "b" },
		"tainted":        func(p *place) { p.node.Spec.Taints = []corev1.Taint{{Key: contract.StartupTaint}} },
		"unsupported":    func(p *place) { p.node.Status.NodeInfo.ContainerRuntimeVersion = "docker://20" },
		"not registered": func(p *place) { p.registered = nil },
		"alias missing":  func(p *place) { p.registered = sets.New(names[0]) },
		"no pod":         func(p *place) { p.pods = nil },
		"two pods":       func(p *place) { p.pods = append(p.pods, pod(p.node.Name+"-2", classes[0], "")) },
		"earlier form":   func(p *place) { relabel(p, contract.RevisionLabel, "before") },
		"pod of another": func(p *place) { relabel(p, contract.NodeClassLabel, "other") },
		"pod ends": func(p *place) {
			eachPod(p, func(pod *corev1.Pod) { pod.DeletionTimestamp = ptr.To(metav1.NewTime(now)) })
		},
		"of no revision":  func(p *place) { relabel(p, contract.RevisionLabel, "") },
		"container waits": func(p *place) { eachPod(p, crashes) },
	}
}

func relabel(p *place, key, value string) {
	eachPod(p, func(pod *corev1.Pod) { pod.Labels[key] = value })
}

func eachPod(p *place, edit func(*corev1.Pod)) {
	for _, pod := range p.pods {
		edit(pod)
	}
}

func crashes(pod *corev1.Pod) {
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "probe", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
}

func rule(live []*appsv1.DaemonSet) settled.Rule {
	out := settled.Rule{Plan: placement.ByDriver(theDriver(), true), Names: names, Revisions: map[string]string{}}
	for _, daemonSet := range live {
		out.Revisions[daemonSet.Name] = daemonSet.Spec.Template.Labels[contract.RevisionLabel]
	}
	return out
}

func TestANodeIsQuietUnlessSomethingIsOtherwise(t *testing.T) {
	live := []*appsv1.DaemonSet{provenDaemonSet(t, classes[0])}
	r := rule(live)
	kind, is := r.Of(unpack(well(0, classes[0], r.Revisions[classes[0]])))
	if want := (settled.Kind{Class: classes[0], RuntimeVersion: "containerd://2.1.4"}); !is || kind != want {
		t.Errorf("a node that serves is settled: %v, as %+v, want %+v", is, kind, want)
	}
	for name, fault := range faults() {
		p := well(0, classes[0], r.Revisions[classes[0]])
		fault(p)
		if kind, is := r.Of(unpack(p)); is {
			t.Errorf("%s: the node is settled, as %+v", name, kind)
		}
	}
	aside := well(0, classes[0], "")
	aside.node.Labels, aside.pods = nil, nil
	if kind, is := r.Of(unpack(aside)); !is || kind != (settled.Kind{}) {
		t.Errorf("a node that is left out is settled: %v, as %+v", is, kind)
	}
}

func unpack(p *place) (*corev1.Node, sets.Set[string], []*corev1.Pod) {
	return p.node, p.registered, p.pods
}

// world is what one look at a cluster leads to, with settled nodes counted or looked at as the others.
func world(t *testing.T, live []*appsv1.DaemonSet, places []*place, r settled.Rule, count bool) (v1alpha1.ImageCSIDriverStatus, rollout.Decision, int) {
	t.Helper()
	driver := theDriver()
	seen := status.Observation{Driver: driver, Names: names, Table: nodeclass.NewTable(nil), Settled: settled.Counts{}}
	var listed []placement.Node
	var pods []*corev1.Pod
	for _, p := range places {
		if kind, is := r.Of(unpack(p)); is && count {
			seen.Settled[kind]++
			continue
		}
		at := r.Plan.Of(p.node)
		at.Registered = p.registered
		listed, pods = append(listed, at), append(pods, p.pods...)
	}
	seen.Nodes = listed
	for _, pod := range pods {
		seen.Pods = append(seen.Pods, *pod)
	}
	in := rollout.Input{Names: names, Spec: driver.Spec.Rollout, Generation: 1, Now: now}
	for _, daemonSet := range live {
		seen.DaemonSets = append(seen.DaemonSets, *daemonSet)
		class := rollout.Class{Rendered: rendered(daemonSet.Name, "v1"), Live: daemonSet, Settled: int(seen.Settled.In(daemonSet.Name))}
		for _, at := range listed {
			if at.Current == daemonSet.Name {
				class.Nodes = append(class.Nodes, at)
			}
		}
		for _, pod := range pods {
			if pod.Labels[contract.NodeClassLabel] == daemonSet.Name {
				class.Pods = append(class.Pods, pod)
			}
		}
		in.Classes = append(in.Classes, class)
	}
	rest, err := rollout.Rest(names, in.Classes)
	if err != nil {
		t.Fatal(err)
	}
	if !rest && count {
		return world(t, live, places, r, false) // As the operator does.
	}
	decision, err := rollout.Decide(in)
	if err != nil {
		t.Fatal(err)
	}
	seen.Rollout = decision.Status
	return status.Of(v1alpha1.ImageCSIDriverStatus{}, seen, metav1.NewTime(now)), decision, len(listed)
}

// With settled nodes counted instead of looked at, the status and everything that is done are the same.
func TestCountingQuietNodesChangesNothing(t *testing.T) {
	live := []*appsv1.DaemonSet{provenDaemonSet(t, classes[0]), provenDaemonSet(t, classes[1])}
	r := rule(live)
	faulty := faults()
	maps.Copy(faulty, harmless())
	kinds := make([]string, 0, len(faulty))
	for name := range faulty {
		kinds = append(kinds, name)
	}
	slices.Sort(kinds)
	random := rand.New(rand.NewPCG(3, 4))
	nodes, looked := 0, 0
	for range 500 {
		var places []*place
		for i := range 1 + random.IntN(12) {
			class := classes[random.IntN(2)]
			p := well(i, class, r.Revisions[class])
			for range max(0, random.IntN(5)-2) {
				faulty[kinds[random.IntN(len(kinds))]](p)
			}
			places = append(places, p)
		}
		for i, daemonSet := range live {
			live[i] = daemonSet.DeepCopy()
			live[i].Status.DesiredNumberScheduled = int32(random.IntN(len(places) + 1))
		}
		fullStatus, full, all := world(t, live, places, r, false)
		shortStatus, short, few := world(t, live, places, r, true)
		nodes, looked = nodes+all, looked+few
		if diff := cmp.Diff(fullStatus, shortStatus); diff != "" {
			t.Fatalf("status (-every node looked at +settled ones counted):\n%s", diff)
		}
		if diff := cmp.Diff(full, short, cmpopts.EquateComparable(rollout.Sighting{})); diff != "" {
			t.Fatalf("decision (-every node looked at +settled ones counted):\n%s", diff)
		}
	}
	if looked == 0 || looked*3 > nodes*2 {
		t.Errorf("of %d nodes %d were looked at: the comparison shows little", nodes, looked)
	}
}

func TestNothingRestsWhileAChangeIsOnItsWay(t *testing.T) {
	live := provenDaemonSet(t, classes[0])
	failed := live.DeepCopy()
	failed.Annotations[contract.RolloutAnnotation] = fmt.Sprintf(`{"good": {"metadata": {"labels": {%q: %q}}}, "failed": {"generation": 1}}`,
		contract.RevisionLabel, live.Spec.Template.Labels[contract.RevisionLabel])
	unproved := live.DeepCopy()
	unproved.Annotations[contract.RolloutAnnotation] = `{}`
	edited := live.DeepCopy()
	edited.Spec.Template.Labels[contract.RevisionLabel] = "other"
	for name, test := range map[string]struct {
		class rollout.Class
		want  bool
	}{
		"as asked for":   {rollout.Class{Rendered: rendered(classes[0], "v1"), Live: live}, true},
		"another image":  {rollout.Class{Rendered: rendered(classes[0], "v2"), Live: live}, false},
		"not there yet":  {rollout.Class{Rendered: rendered(classes[0], "v1")}, false},
		"edited by hand": {rollout.Class{Rendered: rendered(classes[0], "v1"), Live: edited}, false},
		"failed before":  {rollout.Class{Rendered: rendered(classes[0], "v1"), Live: failed}, false},
		"not proved yet": {rollout.Class{Rendered: rendered(classes[0], "v1"), Live: unproved}, false},
	} {
		got, err := rollout.Rest(names, []rollout.Class{{Rendered: rendered(classes[0], "v1"), Live: live}, test.class})
		if err != nil || got != test.want {
			t.Errorf("%s: it rests: %v, %v", name, got, err)
		}
	}
}
