package probing

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/placement"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

var start = time.Unix(100000, 0)

// at is a node of class containerd that a node plugin has prepared.
func at(name string, edits ...func(*Node)) Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	node.Status.NodeInfo = corev1.NodeSystemInfo{KernelVersion: "6.12.9-generic", ContainerRuntimeVersion: "containerd://2.1.4", KubeletVersion: "v1.36.0"}
	out := Node{Prepared: true, Node: placement.Node{Node: node, Selected: true, Current: "containerd", Wanted: "containerd",
		RuntimeVersion: "containerd://2.1.4", Policy: nodeclass.PolicyCommon}}
	for _, edit := range edits {
		edit(&out)
	}
	return out
}

func labelled(probe string, proven bool) func(*Node) {
	return func(n *Node) {
		if strings.HasPrefix(probe, ".") {
			probe = Fingerprint(n.Node.Node) + probe
		}
		n.Labels = Change{Probe: probe, Proven: proven}.Labels(nil)
	}
}

func reporting(message, reason string) func(*Node) {
	return func(n *Node) {
		n.Probe = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{contract.RevisionLabel: Revision()}}}
		n.Probe.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{Message: message, Reason: reason}}}}
	}
}

func pending(n *Node) {
	reporting("", "")(n)
	n.Probe.Status.ContainerStatuses = nil
}

func away(n *Node)       { n.Away = true }
func unprepared(n *Node) { n.Prepared = false }

func TestWhatANodeReportsSpeaksAgainstSandboxes(t *testing.T) {
	handler := func(name string, users *bool) func(*Node) {
		return func(n *Node) {
			n.Status.RuntimeHandlers = append(n.Status.RuntimeHandlers, corev1.NodeRuntimeHandler{Name: name, Features: &corev1.NodeRuntimeHandlerFeatures{UserNamespaces: users}})
		}
	}
	kernel := func(version string) func(*Node) {
		return func(n *Node) { n.Status.NodeInfo.KernelVersion = version }
	}
	runtime := func(version string) func(*Node) { return func(n *Node) { n.RuntimeVersion = version } }
	for name, test := range map[string]struct {
		edit func(*Node)
		want v1alpha1.SandboxReason
	}{
		"nothing":                           {func(*Node) {}, ""},
		"an old kernel":                     {kernel("5.10.0-30-amd64"), v1alpha1.SandboxKernelTooOld},
		"the first kernel":                  {kernel("5.12.0"), ""},
		"a kernel with a backport":          {kernel("5.14.0-503.el9.x86_64"), ""},
		"a kernel that cannot be read":      {kernel("unknown"), ""},
		"a kernel that says nothing":        {kernel(""), ""},
		"a kernel that says much":           {kernel("5." + strings.Repeat("0", 1000)), ""},
		"an old containerd":                 {runtime("containerd://1.7.27"), v1alpha1.SandboxRuntimeTooOld},
		"an old CRI-O":                      {runtime("cri-o://1.24.6"), v1alpha1.SandboxRuntimeTooOld},
		"a CRI-O":                           {runtime("cri-o://1.25.0"), ""},
		"a runtime that says nothing":       {runtime(""), ""},
		"a handler without user namespaces": {handler("", ptr.To(false)), v1alpha1.SandboxRuntimeWithoutUserNamespaces},
		"a handler with user namespaces":    {handler("", ptr.To(true)), ""},
		"a handler that says nothing":       {handler("", nil), ""},
		"another handler without":           {handler("kata", ptr.To(false)), ""},
		"an SELinux policy of its own":      {func(n *Node) { n.Policy = nodeclass.PolicyOwn }, v1alpha1.SandboxSELinux},
		"OpenShift":                         {func(n *Node) { n.Current = nodeclass.OpenShift }, ""},
	} {
		if got := Static(at("n", test.edit).Node); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestANodeGoesFromAProbeToItsResult(t *testing.T) {
	stale := func(n *Node) { n.Probe.Labels[contract.RevisionLabel] = "earlier" }
	ending := func(n *Node) { n.Probe.DeletionTimestamp = ptr.To(metav1.Now()) }
	older := func(n *Node) { n.Status.NodeInfo.KernelVersion = "5.4.0" }
	again := func(n *Node) {
		n.Probe.Status.ContainerStatuses[0].LastTerminationState, n.Probe.Status.ContainerStatuses[0].State = n.Probe.Status.ContainerStatuses[0].State,
			corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	}
	running := labelled("Running", false)
	for name, test := range map[string]struct {
		asked Asked
		edits []func(*Node)
		age   time.Duration // of the probe
		want  string        // the label, without the fingerprint, and whether the node is proven; empty for no change
	}{
		"begins":                                {ByThis, nil, 0, "Running false"},
		"not before the profile is there":       {ByThis, []func(*Node){unprepared}, 0, ""},
		"not while the kubelet is silent":       {ByThis, []func(*Node){away}, 0, ""},
		"not before the pod before is gone":     {ByThis, []func(*Node){pending}, 0, ""},
		"not where nobody asks":                 {ByNobody, nil, 0, ""},
		"not by the driver that does not ask":   {ByAnother, nil, 0, ""},
		"not where it is known to fail":         {ByThis, []func(*Node){older}, 0, ""},
		"not on a node that is left out":        {ByThis, []func(*Node){func(n *Node) { n.Selected = false }}, 0, ""},
		"is under way":                          {ByThis, []func(*Node){running, pending}, time.Minute, ""},
		"has no pod yet":                        {ByThis, []func(*Node){running}, time.Minute, ""},
		"is proven":                             {ByThis, []func(*Node){running, reporting("Proven", "Completed")}, 0, ".Proven true"},
		"is proven, and runs again":             {ByThis, []func(*Node){running, reporting("Proven", "Completed"), again}, 0, ".Proven true"},
		"fails":                                 {ByThis, []func(*Node){running, reporting("ProcMasked: mount /proc: x", "Completed")}, 0, ".ProcMasked false"},
		"fails where it was proven":             {ByThis, []func(*Node){labelled("Running", true), reporting("NotIsolated: x", "Completed")}, 0, ".NotIsolated false"},
		"reports what nobody knows":             {ByThis, []func(*Node){running, reporting("NotStarted", "Completed")}, 0, ".Unreadable false"},
		"reports a label":                       {ByThis, []func(*Node){running, reporting("x.Proven", "Completed")}, 0, ".Unreadable false"},
		"cannot be started":                     {ByThis, []func(*Node){running, reporting("failed to create containerd task", "StartError")}, 0, ".NotStarted false"},
		"cannot be started in time":             {ByThis, []func(*Node){running, pending}, Patience, ".NotStarted false"},
		"has a pod of another profile":          {ByThis, []func(*Node){running, reporting("Proven", "Completed"), stale}, 0, ""},
		"has a pod that ends":                   {ByThis, []func(*Node){running, reporting("Proven", "Completed"), ending}, 0, ""},
		"is given up when the kubelet is away":  {ByThis, []func(*Node){labelled("Running", true), pending, away}, Patience, " true"},
		"has a result that stands":              {ByThis, []func(*Node){labelled(".Proven", true)}, 0, ""},
		"has a refusal that stands":             {ByThis, []func(*Node){labelled(".UserNamespaceLimit", false)}, 0, ""},
		"did not start":                         {ByThis, []func(*Node){labelled(".NotStarted", false)}, Again - time.Second, ""},
		"did not start, half an hour ago":       {ByThis, []func(*Node){labelled(".NotStarted", false)}, Again, "Running false"},
		"was not read, half an hour ago":        {ByThis, []func(*Node){labelled(".Unreadable", false)}, Again, "Running false"},
		"did not start, and has a pod":          {ByThis, []func(*Node){labelled(".NotStarted", false), pending}, Again, ""},
		"did not start, and was proven before":  {ByThis, []func(*Node){labelled(".NotStarted", true)}, 0, ".NotStarted false"},
		"has lost the label of the proof":       {ByThis, []func(*Node){labelled(".Proven", false)}, 0, ".Proven true"},
		"has been given the label of the proof": {ByThis, []func(*Node){labelled(".ProcMasked", true)}, 0, ".ProcMasked false"},
		"has a result of other software":        {ByThis, []func(*Node){labelled("0123456789ab.Proven", true)}, 0, "Running true"},
		"has a result that nobody knows":        {ByThis, []func(*Node){labelled(".Perfect", true)}, 0, "Running true"},
		"has a result that was never a probe's": {ByThis, []func(*Node){labelled(".SELinux", false)}, 0, "Running false"},
		"is known to fail now":                  {ByThis, []func(*Node){labelled(".Proven", true), older}, 0, " false"},
		"is forgotten":                          {ByNobody, []func(*Node){labelled(".Proven", true)}, 0, " false"},
		"is forgotten while it runs":            {ByNobody, []func(*Node){running, pending}, 0, " false"},
		"is another driver's":                   {ByAnother, []func(*Node){labelled("0123456789ab.Proven", true)}, 0, ""},
		"has a runtime that does not answer": {ByThis, []func(*Node){labelled(".Proven", true), func(n *Node) { n.Unknown = &nodeclass.Unknown{}; n.Current = "" }}, 0,
			""},
		"has left its class": {ByThis, []func(*Node){labelled(".Proven", true), func(n *Node) { n.Current = "" }}, 0, " false"},
	} {
		t.Run(name, func(t *testing.T) {
			node := at("n", test.edits...)
			decision := Decide(Input{Asked: test.asked, Nodes: []Node{node}, Began: map[string]time.Time{"n": start}, Now: start.Add(test.age)})
			got := ""
			for _, change := range decision.Changes {
				got = fmt.Sprint(strings.TrimPrefix(change.Probe, Fingerprint(node.Node.Node)), " ", change.Proven)
			}
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			if decision.Next > Again || (decision.Next > 0) != (len(decision.Began) > 0) {
				t.Errorf("looks again after %s, at %v", decision.Next, decision.Began)
			}
		})
	}
}

func TestAFewNodesAreTriedAtATime(t *testing.T) {
	var nodes []Node
	for i := range 3 * AtOnce {
		nodes = append(nodes, at(fmt.Sprintf("n%02d", i)))
	}
	labelled("Running", false)(&nodes[5])
	labelled(".Proven", true)(&nodes[0])
	var began []string
	for _, change := range Decide(Input{Asked: ByThis, Nodes: nodes, Now: start}).Changes {
		began = append(began, nodes[change.Index].Name)
	}
	if want := []string{"n01", "n02", "n03"}; !slices.Equal(began, want) {
		t.Errorf("%v begin, want %v beside n05", began, want)
	}
}

// An operator that starts again does not know when a probe began, and gives it its time once more.
func TestTheTimeOfAProbeBeginsWhenItIsSeen(t *testing.T) {
	in := Input{Asked: ByThis, Nodes: []Node{at("n", labelled("Running", false), pending)}, Now: start}
	first := Decide(in)
	if len(first.Changes) != 0 || first.Next != Patience {
		t.Fatalf("first %+v", first)
	}
	in.Began, in.Now = first.Began, start.Add(Patience-time.Second)
	if second := Decide(in); len(second.Changes) != 0 || second.Next != time.Second {
		t.Errorf("a second before its end %+v", second)
	}
}

func TestEveryResultFitsALabelAndHasItsMessage(t *testing.T) {
	texts := map[string]v1alpha1.SandboxReason{}
	for _, verdict := range append(sandbox.Verdicts(), sandbox.Verdict(v1alpha1.SandboxNotStarted), sandbox.Verdict(v1alpha1.SandboxUnreadable)) {
		node := at("n", labelled("."+string(verdict), false))
		if value := node.Labels[contract.SandboxProbeLabel]; len(value) > 63 {
			t.Errorf("%s has %d bytes", value, len(value))
		}
		state := Of(node.Node)
		if !state.Probed || state.Proven != (verdict == sandbox.Proven) || (!state.Proven && string(state.Refused) != string(verdict)) {
			t.Errorf("%s is read as %+v", verdict, state)
		}
		if verdict == sandbox.Proven {
			continue
		}
		text := Message(state.Refused)
		if other, has := texts[text]; has || len(text) > 512 {
			t.Errorf("the message of %s, of %d bytes, is also that of %q", verdict, len(text), other)
		}
		texts[text] = state.Refused
	}
}

func TestANodeIsSettledWhenThereIsNothingToDo(t *testing.T) {
	for name, test := range map[string]struct {
		asked Asked
		edits []func(*Node)
		want  bool
	}{
		"nobody asks":                {ByNobody, nil, true},
		"nobody asks any more":       {ByNobody, []func(*Node){labelled(".Proven", true)}, false},
		"another asks":               {ByAnother, []func(*Node){labelled("Running", false)}, true},
		"not tried":                  {ByThis, nil, false},
		"under way":                  {ByThis, []func(*Node){labelled("Running", true)}, false},
		"proven":                     {ByThis, []func(*Node){labelled(".Proven", true)}, true},
		"proven, without the label":  {ByThis, []func(*Node){labelled(".Proven", false)}, false},
		"proven with other software": {ByThis, []func(*Node){labelled("0123456789ab.Proven", true)}, false},
		"refused, which is told":     {ByThis, []func(*Node){labelled(".ProcMasked", false)}, false},
		"left out":                   {ByThis, []func(*Node){func(n *Node) { n.Selected, n.Current = false, "" }}, true},
		"left out, and labelled":     {ByThis, []func(*Node){labelled(".Proven", true), func(n *Node) { n.Selected, n.Current = false, "" }}, false},
	} {
		if got := test.asked.Settled(at("n", test.edits...).Node); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
