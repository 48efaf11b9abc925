package render

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

// OptionalKind is a kind that a cluster may lack. Its objects are built without Go types, which would bring the
// projects that define them.
type OptionalKind struct {
	schema.GroupVersionKind
	// Resource is the plural name under which the API server serves the kind.
	Resource string
}

// Definition returns the name of the kind's CustomResourceDefinition.
func (k OptionalKind) Definition() string { return k.Resource + "." + k.Group }

// PodMonitor is the Prometheus operator's kind that tells Prometheus which pods to scrape.
func PodMonitor() OptionalKind {
	return OptionalKind{schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "PodMonitor"}, "podmonitors"}
}

// PrometheusRule is the Prometheus operator's kind that holds alerts.
func PrometheusRule() OptionalKind {
	return OptionalKind{schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "PrometheusRule"}, "prometheusrules"}
}

// SecurityContextConstraints is OpenShift's kind for the privileges that the pods of an account may have.
func SecurityContextConstraints() OptionalKind {
	return OptionalKind{schema.GroupVersionKind{Group: "security.openshift.io", Version: "v1", Kind: "SecurityContextConstraints"},
		"securitycontextconstraints"}
}

// SeccompProfile is the Security Profiles Operator's kind that puts a seccomp profile on every node.
func SeccompProfile() OptionalKind {
	return OptionalKind{schema.GroupVersionKind{Group: "security-profiles-operator.x-k8s.io", Version: "v1", Kind: "SeccompProfile"},
		"seccompprofiles"}
}

// OptionalKinds returns all of them.
func OptionalKinds() []OptionalKind {
	return []OptionalKind{PodMonitor(), PrometheusRule(), SecurityContextConstraints(), SeccompProfile()}
}

// optional returns the driver's objects of the optional kinds that the cluster has. The DaemonSets are those that are
// applied.
func optional(in Input, applied []Object) []Object {
	var out []Object
	for _, kind := range in.Kinds {
		switch kind {
		case PodMonitor():
			out = append(out, podMonitor(in.Driver, in.Settings))
		case PrometheusRule():
			out = append(out, prometheusRule(in.Driver, in.Settings))
		case SecurityContextConstraints():
			if templates := podTemplates(applied, in.Existing); len(templates) > 0 {
				// A rollback makes pods of the earlier form in the same step, which has to be allowed before.
				out = append(out, securityContextConstraints(in.Driver, in.Settings, append(templates, earlierTemplates(in.Existing)...)))
			}
		case SeccompProfile():
			if wantsProfile(in) {
				out = append(out, seccompProfile(in.Driver))
			}
		}
	}
	return out
}

// object returns an object of an optional kind with its name and labels; a cluster-scoped one has no namespace.
func (k OptionalKind) object(driver *v1alpha1.ImageCSIDriver, namespace, name string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(k.GroupVersionKind)
	object.SetNamespace(namespace)
	object.SetName(name)
	object.SetLabels(labels(driver))
	return object
}
