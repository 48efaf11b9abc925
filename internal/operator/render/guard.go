package render

import (
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// GuardName is the name of the admission policy that refuses to uninstall the operator before its drivers, and of its
// binding.
const GuardName = "image-csi-uninstall"

// definition of ImageCSIDriver.
const definition = "imagecsidrivers.storage.imagecsi.dev"

// Guard returns the admission policy, with its binding, that refuses the deletion of the operator's installation while there
// is a driver that only the operator can remove. The installation's manifests do not have it, because the command that
// deletes them would delete it as well: the API server asks no policy about policies. It fails open, and without a driver, or
// without the definition of drivers, it refuses nothing.
func Guard(settings Settings) (*admissionv1.ValidatingAdmissionPolicy, *admissionv1.ValidatingAdmissionPolicyBinding) {
	meta := metav1.ObjectMeta{Name: GuardName, Labels: map[string]string{nameLabel: partOf, partOfLabel: partOf, ManagedByLabel: partOf}}
	policy := &admissionv1.ValidatingAdmissionPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicy"},
		ObjectMeta: *meta.DeepCopy(),
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: ptr.To(admissionv1.Ignore),
			ParamKind:     &admissionv1.ParamKind{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ImageCSIDriver"},
			// It is owned as a whole, with what the server would default.
			MatchConstraints: &admissionv1.MatchResources{
				MatchPolicy: ptr.To(admissionv1.Equivalent), NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{},
				ResourceRules: []admissionv1.NamedRuleWithOperations{
					deletions("", "namespaces", "serviceaccounts"),
					deletions("apiextensions.k8s.io", "customresourcedefinitions"),
					deletions("apps", "deployments"),
					deletions("rbac.authorization.k8s.io", "clusterroles", "clusterrolebindings", "roles", "rolebindings"),
					deletions("operators.coreos.com", "clusterserviceversions"),
				},
			},
			MatchConditions: guarded(settings),
			Validations: []admissionv1.Validation{{
				Expression: fmt.Sprintf("!('%s' in params.metadata.?finalizers.orValue([]))", contract.Finalizer),
				MessageExpression: "'first run \"kubectl delete imagecsidrivers --all\", which ends when no pod uses their volumes, and then this command again: " +
					"ImageCSIDriver ' + params.metadata.name + ' still exists, and only the operator can remove it from the nodes'",
				Message: "delete the ImageCSIDrivers first, and wait until they are gone",
				Reason:  ptr.To(metav1.StatusReasonForbidden),
			}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicyBinding"},
		ObjectMeta: meta,
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: GuardName,
			// Every ImageCSIDriver; without one, there is nothing to guard.
			ParamRef:          &admissionv1.ParamRef{Selector: &metav1.LabelSelector{}, ParameterNotFoundAction: ptr.To(admissionv1.AllowAction)},
			ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}
	return policy, binding
}

// deletions are those of some kinds, in whatever version.
func deletions(group string, resources ...string) admissionv1.NamedRuleWithOperations {
	return admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.Delete},
		Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: resources, Scope: ptr.To(admissionv1.AllScopes)},
	}}
}

// guarded are the conditions under which the policy checks a deletion. The request to delete a collection has no name, so names
// are the objects'. The policy does not check:
//   - deletions by Kubernetes' own controllers, because they follow from a deletion that was checked;
//   - what OLM has made (v0 and v1), because an upgrade replaces it, except for the definition, and for the ClusterServiceVersion
//     until OLM deletes it itself: its deletion takes the rest along. One in phase Replacing may still run the operator, for as long
//     as its successor waits;
//   - roles that are aggregated into those of users, which the operator does not need.
//
// The operator's Deployment and service account are in its own namespace, its role in that of the node plugins. What an operator
// that had one namespace for both left in that of the node plugins can be deleted.
func guarded(settings Settings) []admissionv1.MatchCondition {
	return []admissionv1.MatchCondition{
		{Name: "not-by-kubernetes", Expression: "!(request.userInfo.username in ['system:kube-controller-manager', " +
			"'system:serviceaccount:kube-system:namespace-controller', 'system:serviceaccount:kube-system:generic-garbage-collector'])"},
		{Name: "not-of-olm", Expression: "request.resource.resource in ['customresourcedefinitions', 'clusterserviceversions'] || !oldObject.metadata.?labels.orValue({}).exists(label, label in ['olm.owner', 'olm.operatorframework.io/owner-name'])"},
		// A copy is one in a namespace that OLM lets see the operator.
		{Name: "not-replaced-by-olm", Expression: "request.resource.resource != 'clusterserviceversions' || " +
			"!('olm.copiedFrom' in oldObject.metadata.?labels.orValue({})) && oldObject.?status.?phase.orValue('') != 'Deleting'"},
		{Name: "not-for-people", Expression: "!oldObject.metadata.?labels.orValue({}).exists(label, label.startsWith('rbac.authorization.k8s.io/aggregate-to-'))"},
		{Name: "of-the-operator", Expression: fmt.Sprintf(
			"request.resource.resource == 'customresourcedefinitions' ? oldObject.metadata.name == '%s' : "+
				"request.resource.resource == 'namespaces' ? oldObject.metadata.name in ['%s', '%s'] : "+
				"request.resource.resource == 'clusterserviceversions' ? oldObject.metadata.namespace == '%[2]s' && "+
				"oldObject.?spec.?customresourcedefinitions.?owned.orValue([]).exists(kind, kind.name == '%[1]s') : "+
				"oldObject.metadata.?namespace.orValue('') in (request.resource.resource in ['deployments', 'serviceaccounts'] ? ['%[2]s'] : ['', '%[3]s']) && "+
				"(oldObject.metadata.name == '%[4]s' || oldObject.metadata.?labels[?'%[5]s'].orValue('') == '%[4]s')",
			definition, settings.OperatorNamespace, settings.Namespace, partOf, nameLabel)},
	}
}
