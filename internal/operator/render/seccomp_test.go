package render

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/nodeclass"
	"github.com/image-csi/image-csi-operator/internal/operator/security"
)

func narrow() *v1alpha1.ImageCSIDriver {
	driver := minimal()
	driver.Spec.NodePlugin.SeccompProfile = v1alpha1.SeccompNarrow
	return driver
}

// installed is the driver's profile as the Security Profiles Operator leaves it in a state.
func installed(state string) *unstructured.Unstructured {
	profile := seccompProfile(narrow())
	profile.Object["status"] = map[string]any{"status": state, "localhostProfile": "operator/" + profile.GetName() + ".json",
		"conditions": []any{map[string]any{"type": "Ready", "message": "So it is."}}}
	return profile
}

// unprivilegedOpenShift is the class in mode Nsenter.
func unprivilegedOpenShift(t *testing.T) nodeclass.Class {
	t.Helper()
	return class(t, nodeclass.OpenShift, v1alpha1.NodeClass{Name: nodeclass.OpenShift, MountMode: contract.ModeNsenter})
}

// confined is a DaemonSet whose node plugins have the profile.
func confined(t *testing.T) Object {
	return daemonSet(narrow(), Names(narrow()), class(t, nodeclass.Containerd), settings, file(installed("")))
}

func TestNodePluginsGetTheirOwnProfileOnceItIsInstalled(t *testing.T) {
	path := file(installed(""))
	terminating := installed(security.SeccompInstalled)
	terminating.SetDeletionTimestamp(&metav1.Time{Time: metav1.Now().Time})
	has, unclear := []OptionalKind{SeccompProfile()}, []OptionalKind{SeccompProfile()}
	tests := map[string]struct {
		in   Input
		want security.Seccomp
	}{
		"no such kind":                 {Input{}, security.Seccomp{Missing: true}},
		"the kind is gone":             {Input{Existing: []Object{confined(t)}}, security.Seccomp{Missing: true}},
		"not known":                    {Input{Unclear: unclear}, security.Seccomp{}},
		"not known, in use":            {Input{Unclear: unclear, Existing: []Object{confined(t)}}, security.Seccomp{File: path}},
		"new":                          {Input{Kinds: has}, security.Seccomp{}},
		"pending":                      {Input{Kinds: has, Existing: []Object{installed("Pending")}}, security.Seccomp{State: "Pending"}},
		"pending on a node that joins": {Input{Kinds: has, Existing: []Object{installed("Pending"), confined(t)}}, security.Seccomp{State: "Pending", File: path}},
		"installed":                    {Input{Kinds: has, Existing: []Object{installed("Installed")}}, security.Seccomp{State: "Installed", File: path}},
		"in error":                     {Input{Kinds: has, Existing: []Object{installed("Error"), confined(t)}}, security.Seccomp{State: "Error"}},
		"being deleted":                {Input{Kinds: has, Existing: []Object{terminating, confined(t)}}, security.Seccomp{State: "Terminating"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.in.Driver, test.in.Names, test.in.Settings = narrow(), Names(narrow()), settings
			test.in.Classes = []nodeclass.Class{class(t, nodeclass.Containerd), class(t, nodeclass.CRIO), unprivilegedOpenShift(t)}
			test.want.Profile = installed("").GetName()
			out := Render(test.in)
			out.Seccomp.Message = ""
			if out.Seccomp != test.want {
				t.Errorf("seccomp is %+v, want %+v", out.Seccomp, test.want)
			}
			for _, pod := range podTemplates(out.Apply) {
				context := pod.Containers[0].SecurityContext
				if *context.Privileged {
					if context.SeccompProfile != nil {
						t.Errorf("a privileged container has the profile %v", context.SeccompProfile)
					}
				} else if got := strings.Join(localhostProfiles(pod), " "); got != test.want.File || (got == "") != (context.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault) {
					t.Errorf("the container has %v, want %q", context.SeccompProfile, test.want.File)
				}
			}
		})
	}
}

func TestAProfileThatNobodyAskedForIsNotThere(t *testing.T) {
	for name, in := range map[string]Input{
		"not asked for":   {Driver: minimal(), Names: Names(minimal()), Classes: []nodeclass.Class{class(t, nodeclass.Containerd)}},
		"only privileged": {Driver: narrow(), Names: Names(narrow()), Classes: []nodeclass.Class{class(t, nodeclass.CRIO)}},
	} {
		in.Settings, in.Kinds, in.Existing = settings, []OptionalKind{SeccompProfile()}, []Object{installed("Installed")}
		out := Render(in)
		if slices.Contains(optionalKinds(out.Apply), "SeccompProfile") || out.Seccomp != (security.Seccomp{}) || !slices.Equal(optionalKinds(out.Delete), []string{"SeccompProfile"}) {
			t.Errorf("%s: applied %q, deleted %q, %+v", name, names(out.Apply), names(out.Delete), out.Seccomp)
		}
	}
}

func TestAProfileStaysAsLongAsANodePluginMayNeedIt(t *testing.T) {
	rollingBack := daemonSet(minimal(), Names(minimal()), class(t, nodeclass.Containerd), settings, "")
	rollingBack.Annotations = map[string]string{contract.RolloutAnnotation: `{"good":{"localhostProfile":"` + file(installed("")) + `"}}`}
	for name, in := range map[string]Input{
		"its DaemonSet names it":      {Existing: []Object{confined(t)}},
		"a rollout may go back to it": {Existing: []Object{rollingBack}},
	} {
		in.Driver, in.Names, in.Settings, in.Kinds = minimal(), Names(minimal()), settings, []OptionalKind{SeccompProfile()}
		in.Classes = []nodeclass.Class{class(t, nodeclass.Containerd)}
		in.Existing = append(in.Existing, installed("Installed"))
		if got := optionalKinds(Render(in).Delete); got != nil {
			t.Errorf("%s, but deleted %q", name, got)
		}
	}
}

func TestConstraintsAllowTheSeccompProfile(t *testing.T) {
	in := Input{Driver: narrow(), Names: Names(narrow()), Settings: settings, Kinds: OptionalKinds(), Existing: []Object{installed("Installed")},
		Classes: []nodeclass.Class{unprivilegedOpenShift(t)}}
	for _, object := range Render(in).Apply {
		if KindOf(object) == "SecurityContextConstraints" {
			got := object.(*unstructured.Unstructured).Object["seccompProfiles"].([]any)
			if !slices.Equal(got, []any{"runtime/default", "localhost/" + file(installed(""))}) {
				t.Errorf("profiles %q", got)
			}
			return
		}
	}
	t.Error("no constraints")
}

func TestTheNameOfAProfileFitsALabel(t *testing.T) {
	driver := narrow()
	driver.Name = strings.Repeat("long.", 12) + "io"
	if name := seccompProfile(driver).GetName(); len(name) > maxName {
		t.Errorf("%q has %d characters", name, len(name))
	}
}
