package render

import (
	"encoding/json"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/sandbox"
)

// kinds of the objects that are of an optional kind.
func optionalKinds(objects []Object) []string {
	var out []string
	for _, object := range objects {
		if _, is := object.(*unstructured.Unstructured); is {
			out = append(out, KindOf(object))
		}
	}
	return out
}

func TestObjectsOfOptionalKindsComeAndGoWithTheirKinds(t *testing.T) {
	input := Input{Driver: minimal(), Names: Names(minimal()), Settings: settings, Classes: []nodeclass.Class{class(t, nodeclass.OpenShift)}}
	if got := optionalKinds(Render(input).Apply); got != nil {
		t.Errorf("rendered %q for a cluster that has no such kinds", got)
	}
	input.Kinds = OptionalKinds()
	all := Render(input)
	want := []string{"PodMonitor", "PrometheusRule", "SecurityContextConstraints"}
	if got := optionalKinds(all.Apply); !slices.Equal(got, want) {
		t.Errorf("rendered %q, want %q", got, want)
	}
	input.Existing = all.Apply
	if got := Render(input).Delete; got != nil {
		t.Errorf("nothing changed, but deleted %q", names(got))
	}
	input.Classes, input.Existing = nil, all.Apply[len(all.Apply)-3:]
	if got := optionalKinds(Render(input).Delete); !slices.Equal(got, want[2:]) {
		t.Errorf("deleted %q without node plugins, want %q", got, want[2:])
	}
}

func TestConstraintsAllowWhatThePodsAskFor(t *testing.T) {
	bidirectional := class(t, nodeclass.OpenShift)
	nsenter := unprivilegedOpenShift(t)
	host := nsenter
	host.Network = v1alpha1.NetworkHost
	running := func(of nodeclass.Class) *appsv1.DaemonSet {
		return daemonSet(minimal(), Names(minimal()), of, settings, "")
	}
	tests := map[string]struct {
		classes       []nodeclass.Class
		existing, was *appsv1.DaemonSet // was is what a rollback gives
		privileged    bool
		capabilities  int
		hostNetwork   bool
	}{
		"Bidirectional":                 {classes: []nodeclass.Class{bidirectional}, privileged: true},
		"Nsenter":                       {classes: []nodeclass.Class{nsenter}, capabilities: 9},
		"Nsenter of containerd":         {classes: []nodeclass.Class{class(t, nodeclass.Containerd)}, capabilities: 9},
		"Nsenter, as before":            {classes: []nodeclass.Class{nsenter}, existing: running(nsenter), was: running(nsenter), capabilities: 9},
		"one class of each":             {classes: []nodeclass.Class{nsenter, class(t, nodeclass.CRIO)}, privileged: true, capabilities: 9},
		"Nsenter after Bidirectional":   {classes: []nodeclass.Class{nsenter}, existing: running(bidirectional), privileged: true, capabilities: 9},
		"Bidirectional after Nsenter":   {classes: []nodeclass.Class{bidirectional}, existing: running(nsenter), privileged: true, capabilities: 9},
		"Nsenter, not proved yet":       {classes: []nodeclass.Class{nsenter}, existing: running(nsenter), was: running(bidirectional), privileged: true, capabilities: 9},
		"the node's network":            {classes: []nodeclass.Class{host}, capabilities: 9, hostNetwork: true},
		"a network after the node's":    {classes: []nodeclass.Class{nsenter}, existing: running(host), capabilities: 9, hostNetwork: true},
		"a network, not proved yet":     {classes: []nodeclass.Class{nsenter}, existing: running(nsenter), was: running(host), capabilities: 9, hostNetwork: true},
		"Bidirectional, not proved yet": {classes: []nodeclass.Class{bidirectional}, existing: running(bidirectional), was: running(nsenter), privileged: true, capabilities: 9},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			input := Input{Driver: minimal(), Names: Names(minimal()), Settings: settings, Kinds: []OptionalKind{SecurityContextConstraints()},
				Classes: test.classes}
			if test.existing != nil {
				live := test.existing.DeepCopy()
				if test.was != nil {
					record, err := json.Marshal(map[string]any{"good": test.was.Spec.Template})
					if err != nil {
						t.Fatal(err)
					}
					live.Annotations = map[string]string{contract.RolloutAnnotation: string(record)}
				}
				input.Existing = []Object{live}
			}
			applied := Render(input).Apply
			got := applied[len(applied)-1].(*unstructured.Unstructured).Object
			if got["allowPrivilegedContainer"] != test.privileged || got["allowPrivilegeEscalation"] != test.privileged {
				t.Errorf("privileged container %v, escalation %v", got["allowPrivilegedContainer"], got["allowPrivilegeEscalation"])
			}
			if got["allowHostNetwork"] != test.hostNetwork || got["allowHostPorts"] != false {
				t.Errorf("host network %v, host ports %v", got["allowHostNetwork"], got["allowHostPorts"])
			}
			if capabilities := got["allowedCapabilities"].([]any); len(capabilities) != test.capabilities {
				t.Errorf("capabilities %q, want %d", capabilities, test.capabilities)
			}
			if volumes := got["volumes"].([]any); !slices.Equal(volumes, []any{"configMap", "hostPath"}) {
				t.Errorf("volumes %q", volumes)
			}
		})
	}
}

func TestConstraintsAllowTheVolumesOfCredentials(t *testing.T) {
	applied := Render(Input{Driver: full(), Names: Names(full()), Settings: settings, Kinds: []OptionalKind{SecurityContextConstraints()},
		Classes: []nodeclass.Class{class(t, nodeclass.CRIO)}}).Apply
	got := applied[len(applied)-1].(*unstructured.Unstructured).Object["volumes"].([]any)
	if !slices.Equal(got, []any{"configMap", "emptyDir", "hostPath", "projected"}) {
		t.Errorf("volumes %q", got)
	}
}

// A probe of sandboxes is one of the account's pods. What OpenShift gives to pods that ask for no profile is the first of the list, which
// must be there before the node plugin brings any other.
func TestConstraintsAllowProbesOfSandboxes(t *testing.T) {
	driver := minimal()
	driver.Spec.NestedSandboxes = &v1alpha1.NestedSandboxes{}
	applied := Render(Input{Driver: driver, Names: Names(driver), Settings: settings, Kinds: []OptionalKind{SecurityContextConstraints()},
		Classes: []nodeclass.Class{class(t, nodeclass.OpenShift)}}).Apply
	got := applied[len(applied)-1].(*unstructured.Unstructured).Object
	if profiles := got["seccompProfiles"].([]any); !slices.Equal(profiles, []any{"runtime/default", "localhost/" + sandbox.Name()}) {
		t.Errorf("profiles %q", profiles)
	}
	if volumes := got["volumes"].([]any); !slices.Contains(volumes, any("emptyDir")) {
		t.Errorf("volumes %q", volumes)
	}
}
