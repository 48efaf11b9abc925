package status

import (
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// ImagesPolicy is the ValidatingAdmissionPolicy of config/admission that refuses pods and PersistentVolumes with images that
// a driver does not allow.
const ImagesPolicy = "image-csi-volume-images"

// PoliciesState is what the operator knows of the cluster's admission policies.
type PoliciesState string

// The states. Only the last two say anything about what is there.
const (
	PoliciesPending    PoliciesState = ""           // not known yet
	PoliciesUnreadable PoliciesState = "Unreadable" // not known, although the operator has asked for some time
	PoliciesNotServed  PoliciesState = "NotServed"  // the API server has no such kind
	PoliciesRead       PoliciesState = "Read"       // the other fields say what there is
)

// Policies are the cluster's admission policies, as far as they matter to drivers.
type Policies struct {
	State PoliciesState
	// Images is the policy named ImagesPolicy; nil if there is none.
	Images *admissionv1.ValidatingAdmissionPolicy
	// Bindings of this policy and of others.
	Bindings []admissionv1.ValidatingAdmissionPolicyBinding
}

// unenforced is the condition Degraded of a driver with a rule for images that admission does not enforce; not ok if it does, or
// if there is no rule. While that is unknown, the condition stays what it was.
func unenforced(seen Observation) (degraded metav1.Condition, ok bool) {
	rules := rulesForImages(seen)
	if len(rules) == 0 {
		return degraded, false
	}
	if seen.Policies.State == PoliciesPending || seen.Policies.State == PoliciesUnreadable {
		last := meta.FindStatusCondition(seen.Driver.Status.Conditions, v1alpha1.ConditionDegraded)
		if last == nil || last.Reason != ReasonPolicyNotInEffect {
			return degraded, false
		}
		return *last, true
	}
	missing := seen.Policies.missing(seen.Driver, rules)
	if missing == "" {
		return degraded, false
	}
	where := "refused at the node and not at admission"
	if seen.Driver.Spec.ManagementState == v1alpha1.Unmanaged {
		where = "not refused at admission, and at the node by the rules that held when spec.managementState became Unmanaged"
	}
	return condition(v1alpha1.ConditionDegraded, true, ReasonPolicyNotInEffect, "Pods that break spec.security are %s: %s. %s",
		where, missing, seen.Policies.remedy()), true
}

// unknownPolicies is what the message of a driver without problems adds if it has rules for images.
func unknownPolicies(seen Observation) string {
	if len(rulesForImages(seen)) == 0 || seen.Policies.State != PoliciesUnreadable {
		return ""
	}
	return " Whether pods that break spec.security are refused at admission, and not only at the node, is not known: the operator cannot list " +
		"ValidatingAdmissionPolicies and their bindings. Apply config/rbac of the operator's release."
}

// rulesForImages returns the fields of spec.security that restrict images, unless the driver is gone.
func rulesForImages(seen Observation) (fields []string) {
	security := seen.Driver.Spec.Security
	if seen.Removal == RemovalDone {
		return nil
	}
	if len(security.AllowedImages) > 0 {
		fields = append(fields, "allowedImages")
	}
	if security.ImagePinning == v1alpha1.PinningDigest {
		fields = append(fields, "imagePinning")
	}
	return fields
}

// missing returns why admission does not enforce a driver's rules; empty if it does.
func (p Policies) missing(driver *v1alpha1.ImageCSIDriver, rules []string) string {
	const policy = "ValidatingAdmissionPolicy " + ImagesPolicy
	if p.State == PoliciesNotServed {
		return "the API server does not serve ValidatingAdmissionPolicies (admissionregistration.k8s.io/v1)"
	}
	if p.Images == nil {
		return policy + " does not exist"
	}
	if !looksAtPods(p.Images.Spec) {
		return policy + " is not the operator's: it does not look at new pods with an ImageCSIDriver as its parameter"
	}
	for _, field := range rules {
		if !reads(p.Images.Spec, field) {
			return policy + " does not read spec.security." + field
		}
	}
	if !slices.ContainsFunc(p.Bindings, func(b admissionv1.ValidatingAdmissionPolicyBinding) bool { return denies(b, driver) }) {
		return "no ValidatingAdmissionPolicyBinding has it deny what breaks the rules of this ImageCSIDriver (policyName " + ImagesPolicy + ", validationActions [Deny])"
	}
	return ""
}

func (p Policies) remedy() string {
	if p.State == PoliciesNotServed {
		return "Enable them in the API server and apply config/admission of the operator's release."
	}
	return "Apply config/admission of the operator's release: kubectl apply --server-side -k config/admission."
}

// looksAtPods reports whether a policy is asked about new pods, with an ImageCSIDriver.
func looksAtPods(policy admissionv1.ValidatingAdmissionPolicySpec) bool {
	if policy.ParamKind == nil || policy.ParamKind.Kind != "ImageCSIDriver" || policy.MatchConstraints == nil {
		return false
	}
	if of, err := schema.ParseGroupVersion(policy.ParamKind.APIVersion); err != nil || of.Group != v1alpha1.GroupVersion.Group {
		return false
	}
	return slices.ContainsFunc(policy.MatchConstraints.ResourceRules, func(rule admissionv1.NamedRuleWithOperations) bool {
		return names(rule.APIGroups, "") && names(rule.Resources, "pods") &&
			(slices.Contains(rule.Operations, admissionv1.Create) || slices.Contains(rule.Operations, admissionv1.OperationAll))
	})
}

func names(list []string, entry string) bool {
	return slices.Contains(list, entry) || slices.Contains(list, "*")
}

// reads reports whether what a policy refuses depends on a field of spec.security.
func reads(policy admissionv1.ValidatingAdmissionPolicySpec, field string) bool {
	name := "spec.security." + field
	return slices.ContainsFunc(policy.Validations, func(v admissionv1.Validation) bool { return strings.Contains(v.Expression, name) }) ||
		(len(policy.Validations) > 0 && slices.ContainsFunc(policy.Variables, func(v admissionv1.Variable) bool { return strings.Contains(v.Expression, name) }))
}

// denies reports whether a binding has the policy for images refuse what breaks a driver's rules. An administrator may have
// narrowed it to some namespaces, which is then meant.
func denies(binding admissionv1.ValidatingAdmissionPolicyBinding, driver *v1alpha1.ImageCSIDriver) bool {
	param := binding.Spec.ParamRef
	if binding.Spec.PolicyName != ImagesPolicy || !slices.Contains(binding.Spec.ValidationActions, admissionv1.Deny) || param == nil {
		return false
	}
	if param.Selector == nil {
		return param.Name == driver.Name
	}
	selector, err := metav1.LabelSelectorAsSelector(param.Selector)
	return err == nil && selector.Matches(labels.Set(driver.Labels))
}
