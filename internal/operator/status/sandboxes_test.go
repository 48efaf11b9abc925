package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/probing"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/settled"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

// asked has a driver ask for sandboxes.
func asked(seen *Observation) { seen.Driver.Spec.NestedSandboxes = &v1alpha1.NestedSandboxes{} }

// keeping is a class's DaemonSet, whose node plugins keep a profile, with a pod on each node.
func keeping(class, profile string, nodes ...string) func(*Observation) {
	return func(seen *Observation) {
		labels := map[string]string{contract.NodeClassLabel: class, contract.RevisionLabel: "r1"}
		d := appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "d-" + class, Labels: labels}}
		d.Spec.Template.Labels = labels
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: render.ContainerName}}
		if profile != "" {
			d.Spec.Template.Spec.Containers[0].Args = []string{"--" + contract.FlagSandboxProfile + "=" + profile}
		}
		seen.DaemonSets = append(seen.DaemonSets, d)
		for _, node := range nodes {
			seen.Pods = append(seen.Pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: class + node, Labels: labels}, Spec: corev1.PodSpec{NodeName: node}})
		}
	}
}

// placed is a ready node of a class with a runtime.
func placed(node, class, runtime string) func(*Observation) {
	return func(seen *Observation) {
		ready(node)(seen)
		last := &seen.Nodes[len(seen.Nodes)-1]
		last.Current, last.Wanted, last.RuntimeVersion = class, class, runtime
	}
}

func TestTheProfileOfSandboxesIsNamedOnceItIsOnTheNodes(t *testing.T) {
	const earlier = sandbox.Prefix + "earlier.json"
	containerd, complete := placed("a", "containerd", "containerd://2.0.0"), phase(v1alpha1.PhaseComplete)
	here, crio := keeping("containerd", sandbox.Name(), "a"), placed("b", "crio", "cri-o://1.36.3")
	for name, test := range map[string]struct {
		edits    []func(*Observation)
		previous string
		want     string            // the profile
		classes  map[string]string // by name, the state and a word of the message
	}{
		"not asked for":          {edits: []func(*Observation){containerd, keeping("containerd", "", "a"), complete}, previous: earlier, classes: map[string]string{}},
		"on every node":          {edits: []func(*Observation){asked, containerd, here, complete}, previous: earlier, want: sandbox.Name(), classes: map[string]string{"containerd": "Prepared"}},
		"rolling out":            {edits: []func(*Observation){asked, containerd, here, phase(v1alpha1.PhaseUpdating)}, previous: earlier, want: earlier, classes: map[string]string{"containerd": "Preparing comes to the nodes"}},
		"for the first time":     {edits: []func(*Observation){asked, containerd, here, phase(v1alpha1.PhaseCanary)}, classes: map[string]string{"containerd": "Preparing comes to the nodes"}},
		"not rendered yet":       {edits: []func(*Observation){asked, containerd, keeping("containerd", "", "a"), complete}, classes: map[string]string{"containerd": "Preparing comes to the nodes"}},
		"of an earlier operator": {edits: []func(*Observation){asked, containerd, keeping("containerd", earlier, "a"), complete}, previous: earlier, want: earlier, classes: map[string]string{"containerd": "Preparing comes to the nodes"}},
		"but on a node that joined": {edits: []func(*Observation){asked, containerd, placed("new", "containerd", "containerd://2.0.0"), here, complete}, previous: earlier, want: earlier,
			classes: map[string]string{"containerd": "Preparing comes to the nodes"}},
		"on one class of two": {edits: []func(*Observation){asked, containerd, here, crio, keeping("crio", sandbox.Name()), complete},
			classes: map[string]string{"containerd": "Prepared", "crio": "Preparing comes to the nodes"}},
		"where one class cannot": {edits: []func(*Observation){asked, containerd, here, placed("b", "bottlerocket", "containerd://2.1.0"), keeping("bottlerocket", sandbox.Name(), "b"), complete}, want: sandbox.Name(),
			classes: map[string]string{"containerd": "Prepared", "bottlerocket": "Unsupported SELinux"}},
		"with an old containerd": {edits: []func(*Observation){asked, placed("a", "containerd", "containerd://1.7.27-0ubuntu1"), here, complete}, classes: map[string]string{"containerd": "Unsupported containerd 1.7.27-0ubuntu1"}},
		"with an old CRI-O":      {edits: []func(*Observation){asked, placed("b", "crio", "cri-o://1.24.6"), keeping("crio", sandbox.Name(), "b"), complete}, classes: map[string]string{"crio": "Unsupported CRI-O to 1.25"}},
		"on OpenShift":           {edits: []func(*Observation){asked, placed("b", "openshift", "cri-o://1.33.0"), keeping("openshift", sandbox.Name(), "b"), complete}, want: sandbox.Name(), classes: map[string]string{"openshift": "Prepared"}},
	} {
		t.Run(name, func(t *testing.T) {
			previous := v1alpha1.ImageCSIDriverStatus{}
			if test.previous != "" {
				previous.NestedSandboxes = &v1alpha1.NestedSandboxesStatus{SeccompProfile: test.previous}
			}
			got := Of(previous, observe(test.edits...), late)
			profile := ""
			if got.NestedSandboxes != nil {
				profile = got.NestedSandboxes.SeccompProfile
			}
			if profile != test.want {
				t.Errorf("the profile is %q, want %q", profile, test.want)
			}
			told := 0
			for _, class := range got.NodeClasses {
				if class.NestedSandboxes == nil {
					continue
				}
				told++
				state, word, _ := strings.Cut(test.classes[class.Name], " ")
				if string(class.NestedSandboxes.State) != state || !strings.Contains(class.NestedSandboxes.Message, word) || (word == "") != (class.NestedSandboxes.Message == "") {
					t.Errorf("class %s: %+v, want %s", class.Name, *class.NestedSandboxes, test.classes[class.Name])
				}
			}
			if told != len(test.classes) {
				t.Errorf("%d classes are told, want %d", told, len(test.classes))
			}
		})
	}
}

// tries has the latest node's labels say what became of a sandbox there.
func tries(result string) func(*Observation) {
	return func(seen *Observation) {
		last := &seen.Nodes[len(seen.Nodes)-1]
		last.Labels = probing.Change{Probe: probing.Fingerprint(last.Node) + "." + result, Proven: result == "Proven"}.Labels(nil)
	}
}

func TestAClassTellsWhereSandboxesWereProvenAndWhyNotElsewhere(t *testing.T) {
	earlier := metav1.NewTime(late.Add(-time.Hour))
	containerd := func(name string) func(*Observation) { return placed(name, "containerd", "containerd://2.1.4") }
	keep := keeping("containerd", sandbox.Name(), "a", "b", "c")
	complete := phase(v1alpha1.PhaseComplete)
	probed := func(seen *Observation) { seen.Probed = sets.New("containerd") }
	for name, test := range map[string]struct {
		edits  []func(*Observation)
		before *metav1.Time
		want   string // state, proven, refusals
		when   *metav1.Time
	}{
		"not tried":              {[]func(*Observation){containerd("a"), keep, complete}, nil, "Prepared 0", nil},
		"proven":                 {[]func(*Observation){containerd("a"), tries("Proven"), keep, complete, probed}, &earlier, "Proven 1", &late},
		"proven before":          {[]func(*Observation){containerd("a"), tries("Proven"), keep, complete}, &earlier, "Proven 1", &earlier},
		"proven, and not told":   {[]func(*Observation){containerd("a"), tries("Proven"), keep, complete}, nil, "Proven 1", &late},
		"proven and rolling out": {[]func(*Observation){containerd("a"), tries("Proven"), keep, phase(v1alpha1.PhaseUpdating)}, &earlier, "Preparing 1", &earlier},
		"proven in part":         {[]func(*Observation){containerd("a"), tries("Proven"), containerd("b"), keep, complete}, &earlier, "Prepared 1", &earlier},
		"refused by the probe": {[]func(*Observation){containerd("c"), tries("ProcMasked"), containerd("b"), tries("ProcMasked"), containerd("a"), tries("AppArmorRestriction"), keep, complete}, &earlier,
			"Prepared 0 ProcMasked/2/b AppArmorRestriction/1/a", &earlier},
		"refused without one": {[]func(*Observation){containerd("b"), tries("Proven"), placed("a", "containerd", "containerd://1.7.1"), keep, complete}, &earlier,
			"Prepared 1 RuntimeTooOld/1/a", &earlier},
		"settled": {[]func(*Observation){containerd("a"), tries("ProcMasked"), keep, complete, func(seen *Observation) {
			seen.Settled = settled.Counts{{Class: "containerd", RuntimeVersion: "containerd://2.1.4"}: 2}
		}}, &earlier, "Prepared 2 ProcMasked/1/a", &earlier},
	} {
		t.Run(name, func(t *testing.T) {
			previous := v1alpha1.ImageCSIDriverStatus{NodeClasses: []v1alpha1.NodeClassStatus{{Name: "containerd", NestedSandboxes: &v1alpha1.ClassSandboxes{LastProbeTime: test.before}}}}
			class := Of(previous, observe(append([]func(*Observation){asked}, test.edits...)...), late).NodeClasses[0].NestedSandboxes
			got := fmt.Sprint(class.State, " ", class.Proven)
			for _, refusal := range class.Refusals {
				got += fmt.Sprintf(" %s/%d/%s", refusal.Reason, refusal.Nodes, refusal.Node)
				if refusal.Message == "" {
					t.Errorf("%s has no message", refusal.Reason)
				}
			}
			if got != test.want || !class.LastProbeTime.Equal(test.when) {
				t.Errorf("%s at %v, want %s at %v", got, class.LastProbeTime, test.want, test.when)
			}
		})
	}
}
