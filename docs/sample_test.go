package docs_test

import (
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// TestTheFullSampleHasEveryField holds the sample that README.md promises to the schema.
func TestTheFullSampleHasEveryField(t *testing.T) {
	var definition apiextensionsv1.CustomResourceDefinition
	var sample map[string]any
	for path, into := range map[string]any{
		"../config/crd/bases/storage.imagecsi.dev_imagecsidrivers.yaml": &definition,
		"../config/samples/storage_v1alpha1_imagecsidriver_full.yaml":   &sample,
	} {
		if err := yaml.UnmarshalStrict([]byte(page(t, path)), into); err != nil {
			t.Fatal(path, err)
		}
	}
	without := []string{
		"spec.rollout.canary.nodeSelector", // instead of nodes
		// A toleration of everything has none of these; they are those of pods.
		"spec.nodePlugin.tolerations.key", "spec.nodePlugin.tolerations.value", "spec.nodePlugin.tolerations.effect", "spec.nodePlugin.tolerations.tolerationSeconds",
	}
	spec := definition.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	for _, field := range missing(spec, []any{sample["spec"]}, "spec") {
		if !slices.Contains(without, field) {
			t.Errorf("the sample has no %s", field)
		}
	}
}

// missing returns the fields of a schema that none of the values has.
func missing(schema apiextensionsv1.JSONSchemaProps, values []any, path string) (fields []string) {
	for name, field := range schema.Properties {
		var found []any
		for _, value := range values {
			object, _ := value.(map[string]any)
			switch inner := object[name].(type) {
			case nil:
			case []any:
				found = append(found, inner...)
			default:
				found = append(found, inner)
			}
		}
		if len(found) == 0 {
			fields = append(fields, path+"."+name)
			continue
		}
		if field.Items != nil {
			field = *field.Items.Schema
		}
		fields = append(fields, missing(field, found, path+"."+name)...)
	}
	return fields
}

// TestTheSandboxSampleIsThePodOfThePage because package e2e runs the page's.
func TestTheSandboxSampleIsThePodOfThePage(t *testing.T) {
	_, sample, _ := strings.Cut(page(t, "../config/samples/pod_sandbox.yaml"), "apiVersion: v1\n")
	if !strings.Contains(page(t, "sandboxes.md"), "```yaml\napiVersion: v1\n"+sample+"```\n") {
		t.Errorf("docs/sandboxes.md has another pod than the sample:\n%s", sample)
	}
}
