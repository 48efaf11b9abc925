package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// inputs are the objects that a bundle is made of.
type inputs struct {
	csv         *v1alpha1.ClusterServiceVersion
	namespace   *corev1.Namespace
	deployment  *appsv1.Deployment
	clusterRole *rbacv1.ClusterRole // the operator's
	role        *rbacv1.Role        // the operator's
	crds        []*apiextensionsv1.CustomResourceDefinition
	examples    []*unstructured.Unstructured
	others      []*unstructured.Unstructured // what the bundle carries as it is
}

// anyVersion stands in the base of the ClusterServiceVersion where its version does.
const anyVersion = "0.0.0"

// read sorts the documents of a file into inputs, and gives the ClusterServiceVersion its version.
func read(file, version string) (*inputs, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	text = bytes.ReplaceAll(text, []byte(anyVersion), []byte(version))
	in := &inputs{}
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := documents.Decode(&object.Object); errors.Is(err, io.EOF) {
			return in, in.complete()
		} else if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		if err := in.take(object); err != nil {
			return nil, fmt.Errorf("%s: %s %s: %w", file, object.GetKind(), object.GetName(), err)
		}
	}
}

func (in *inputs) take(object *unstructured.Unstructured) error {
	switch object.GetKind() {
	case "ClusterServiceVersion":
		return into(object, &in.csv)
	case "Namespace":
		return into(object, &in.namespace)
	case "Deployment":
		return into(object, &in.deployment)
	case "Role":
		if object.GetName() == operatorName {
			return into(object, &in.role)
		}
		object.SetNamespace("") // OLM's choice, which is that of the operator and of the node plugins
		in.others = append(in.others, object)
	case "ConfigMap":
		object.SetNamespace("")
		in.others = append(in.others, object)
	case "ClusterRole":
		if object.GetName() == operatorName {
			return into(object, &in.clusterRole)
		}
		in.others = append(in.others, object)
	case "CustomResourceDefinition":
		var crd *apiextensionsv1.CustomResourceDefinition
		if err := into(object, &crd); err != nil {
			return err
		}
		in.crds = append(in.crds, crd)
	case "ServiceAccount", "RoleBinding", "ClusterRoleBinding":
		// OLM makes these from the install strategy.
	case "ImageCSIDriver":
		in.examples = append(in.examples, object)
	default:
		return errors.New("a bundle has no place for this kind")
	}
	return nil
}

func into[T any](object *unstructured.Unstructured, target **T) error {
	text, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	*target = new(T)
	return sigsyaml.UnmarshalStrict(text, *target)
}

func (in *inputs) complete() error {
	if in.csv == nil || in.namespace == nil || in.deployment == nil || in.clusterRole == nil || in.role == nil || len(in.crds) == 0 || len(in.examples) == 0 {
		return errors.New("config/manifests lacks the base of the ClusterServiceVersion, the namespace, the deployment, a role, the CRDs or the samples")
	}
	return nil
}
