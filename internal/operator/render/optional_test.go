package render

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
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
	tests := map[string]struct {
		class, existing string
		privileged      bool
		capabilities    int
	}{
		"Bidirectional":               {class: nodeclass.OpenShift, privileged: true},
		"Nsenter":                     {class: nodeclass.Containerd, capabilities: 9},
		"Nsenter after Bidirectional": {class: nodeclass.Containerd, existing: nodeclass.CRIO, privileged: true, capabilities: 9},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			input := Input{Driver: minimal(), Names: Names(minimal()), Settings: settings, Kinds: []OptionalKind{SecurityContextConstraints()},
				Classes: []nodeclass.Class{class(t, test.class)}}
			if test.existing != "" {
				input.Existing = []Object{daemonSet(minimal(), Names(minimal()), class(t, test.existing), settings, "")}
			}
			applied := Render(input).Apply
			got := applied[len(applied)-1].(*unstructured.Unstructured).Object
			if got["allowPrivilegedContainer"] != test.privileged || got["allowPrivilegeEscalation"] != test.privileged {
				t.Errorf("privileged container %v, escalation %v", got["allowPrivilegedContainer"], got["allowPrivilegeEscalation"])
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
