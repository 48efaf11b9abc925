package status

import (
	"os"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// installedPolicies are those of config/admission for images, after what a test does to them.
func installedPolicies(t *testing.T, change func(*admissionv1.ValidatingAdmissionPolicySpec, *admissionv1.ValidatingAdmissionPolicyBindingSpec)) Policies {
	t.Helper()
	text, err := os.ReadFile("../../../config/admission/volume_images.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(string(text), "\n---\n")
	var policy admissionv1.ValidatingAdmissionPolicy
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	if err := yaml.UnmarshalStrict([]byte(documents[0]), &policy); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict([]byte(documents[1]), &binding); err != nil {
		t.Fatal(err)
	}
	if policy.Name != ImagesPolicy {
		t.Fatalf("config/admission has policy %s", policy.Name)
	}
	if change != nil {
		change(&policy.Spec, &binding.Spec)
	}
	return Policies{State: PoliciesRead, Images: &policy, Bindings: []admissionv1.ValidatingAdmissionPolicyBinding{binding}}
}

func TestRulesThatAdmissionDoesNotEnforceDegradeTheDriver(t *testing.T) {
	type policySpec = admissionv1.ValidatingAdmissionPolicySpec
	type bindingSpec = admissionv1.ValidatingAdmissionPolicyBindingSpec
	changed := func(change func(*policySpec, *bindingSpec)) func(*testing.T) Policies {
		return func(t *testing.T) Policies { t.Helper(); return installedPolicies(t, change) }
	}
	fixed := func(p Policies) func(*testing.T) Policies { return func(*testing.T) Policies { return p } }
	installed := changed(nil)
	images, pinned := v1alpha1.Security{AllowedImages: []v1alpha1.AllowedImage{"docker.io/"}}, v1alpha1.Security{ImagePinning: v1alpha1.PinningDigest}
	for name, test := range map[string]struct {
		rules    v1alpha1.Security
		policies func(*testing.T) Policies
		want     string // in the message; empty: not degraded
	}{
		"no rule":                     {v1alpha1.Security{}, fixed(Policies{State: PoliciesRead}), ""},
		"pinning optional":            {v1alpha1.Security{ImagePinning: v1alpha1.PinningOptional}, fixed(Policies{State: PoliciesNotServed}), ""},
		"not known yet":               {images, fixed(Policies{}), ""},
		"cannot be read":              {images, fixed(Policies{State: PoliciesUnreadable}), ""},
		"images in effect":            {images, installed, ""},
		"pinning in effect":           {pinned, installed, ""},
		"not served":                  {images, fixed(Policies{State: PoliciesNotServed}), "does not serve ValidatingAdmissionPolicies"},
		"no policy":                   {pinned, fixed(Policies{State: PoliciesRead}), "does not exist"},
		"somebody else's: no drivers": {images, changed(func(p *policySpec, _ *bindingSpec) { p.ParamKind = nil }), "is not the operator's"},
		"somebody else's: another kind": {images, changed(func(p *policySpec, _ *bindingSpec) {
			p.ParamKind = &admissionv1.ParamKind{APIVersion: "example.com/v1", Kind: "ImageCSIDriver"}
		}), "is not the operator's"},
		"somebody else's: other objects": {images, changed(func(p *policySpec, _ *bindingSpec) {
			p.MatchConstraints.ResourceRules[0].Resources = []string{"services"}
		}), "is not the operator's"},
		"updates only": {images, changed(func(p *policySpec, _ *bindingSpec) {
			p.MatchConstraints.ResourceRules[0].Operations = []admissionv1.OperationType{admissionv1.Update}
		}), "is not the operator's"},
		"reads no images": {images, changed(func(p *policySpec, _ *bindingSpec) { p.Variables = nil }), "does not read spec.security.allowedImages"},
		"reads no pinning": {pinned, changed(func(p *policySpec, _ *bindingSpec) {
			p.Variables = []admissionv1.Variable{{Name: "a", Expression: "params.?spec.security.allowedImages.orValue([])"}}
		}), "does not read spec.security.imagePinning"},
		"refuses nothing": {images, changed(func(p *policySpec, _ *bindingSpec) { p.Validations = nil }), "does not read spec.security.allowedImages"},
		"no binding":      {images, changed(func(_ *policySpec, b *bindingSpec) { b.PolicyName = "another" }), "no ValidatingAdmissionPolicyBinding"},
		"a binding that warns": {images, changed(func(_ *policySpec, b *bindingSpec) {
			b.ValidationActions = []admissionv1.ValidationAction{admissionv1.Warn, admissionv1.Audit}
		}), "no ValidatingAdmissionPolicyBinding"},
		"a binding without parameter": {images, changed(func(_ *policySpec, b *bindingSpec) { b.ParamRef = nil }), "no ValidatingAdmissionPolicyBinding"},
		"a binding of another driver": {images, changed(func(_ *policySpec, b *bindingSpec) { b.ParamRef = &admissionv1.ParamRef{Name: "other.example.com"} }), "no ValidatingAdmissionPolicyBinding"},
		"a binding of this driver":    {images, changed(func(_ *policySpec, b *bindingSpec) { b.ParamRef = &admissionv1.ParamRef{Name: "image.example.com"} }), ""},
		"a binding of drivers with another label": {images, changed(func(_ *policySpec, b *bindingSpec) {
			b.ParamRef.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"held": "no"}}
		}), "no ValidatingAdmissionPolicyBinding"},
		"a binding of drivers with a label": {images, changed(func(_ *policySpec, b *bindingSpec) {
			b.ParamRef.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"held": "yes"}}
		}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			driver := &v1alpha1.ImageCSIDriver{Spec: v1alpha1.ImageCSIDriverSpec{Security: test.rules}}
			driver.Name, driver.Labels = "image.example.com", map[string]string{"held": "yes"}
			seen := Observation{Driver: driver, Policies: test.policies(t)}
			got := degraded(seen, nil)
			switch {
			case test.want == "" && got.Status != metav1.ConditionFalse,
				test.want != "" && (got.Reason != ReasonPolicyNotInEffect || !strings.Contains(got.Message, test.want) ||
					!strings.Contains(got.Message, "refused at the node and not at admission") || !strings.Contains(got.Message, "config/admission")):
				t.Errorf("%s %s: %s", got.Status, got.Reason, got.Message)
			}
			seen.Removal = RemovalDone
			if got := degraded(seen, nil); got.Status != metav1.ConditionFalse {
				t.Errorf("removed, but %s: %s", got.Reason, got.Message)
			}
		})
	}
}

// Nothing is proved by what cannot be read: neither that the policies are missing nor that they are back.
func TestPoliciesThatCannotBeReadChangeNothing(t *testing.T) {
	driver := &v1alpha1.ImageCSIDriver{Spec: v1alpha1.ImageCSIDriverSpec{Security: v1alpha1.Security{ImagePinning: v1alpha1.PinningDigest}}}
	now := metav1.Now()
	look := func(state PoliciesState) string {
		driver.Status = Of(driver.Status, Observation{Driver: driver, Policies: Policies{State: state}}, now)
		got := driver.Status.Conditions[2]
		if strings.Contains(got.Message, "is not known") != (state == PoliciesUnreadable && got.Status == metav1.ConditionFalse) {
			t.Errorf("%q: %s", state, got.Message)
		}
		return string(got.Status) + " " + got.Reason
	}
	const well, missing = "False AsExpected", "True PolicyNotInEffect"
	for i, step := range []struct {
		state PoliciesState
		want  string
	}{
		{PoliciesPending, well},
		{PoliciesUnreadable, well},
		{PoliciesRead, missing},
		{PoliciesPending, missing},
		{PoliciesUnreadable, missing},
		{PoliciesNotServed, missing},
	} {
		if got := look(step.state); got != step.want {
			t.Errorf("step %d, %q: %s, want %s", i, step.state, got, step.want)
		}
	}
	driver.Spec.ManagementState = v1alpha1.Unmanaged
	if look(PoliciesRead) != missing || !strings.Contains(driver.Status.Conditions[2].Message, "the rules that held when") {
		t.Error(driver.Status.Conditions[2].Message)
	}
}
