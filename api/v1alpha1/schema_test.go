package v1alpha1

import (
	"os"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func crd(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	text, err := os.ReadFile("../../config/crd/bases/storage.imagecsi.dev_imagecsidrivers.yaml")
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, crd); err != nil {
		t.Fatal(err)
	}
	return crd
}

// theirs are subtrees whose types are Kubernetes' own: the API server bounds them when it validates the objects that
// they are copied into.
func theirs(path string) bool {
	return strings.HasPrefix(path, ".spec.nodePlugin.tolerations[]") ||
		strings.HasPrefix(path, ".status.conditions[].") ||
		path == ".metadata" || path == ".apiVersion" || path == ".kind"
}

// The rules of this API: everything is described, everything that can grow is bounded, and choices are enums, because
// a boolean cannot get a third value.
func TestEveryFieldKeepsTheRulesOfTheAPI(t *testing.T) {
	schema := crd(t).Spec.Versions[0].Schema.OpenAPIV3Schema
	fields := 0
	walk("", *schema, func(path string, field apiextensionsv1.JSONSchemaProps) {
		if theirs(path) {
			return
		}
		fields++
		for _, complaint := range complaints(path, field) {
			t.Errorf("%s %s", path, complaint)
		}
	})
	if fields < 40 {
		t.Errorf("only %d fields were looked at", fields)
	}
}

func complaints(path string, field apiextensionsv1.JSONSchemaProps) []string {
	var out []string
	complain := func(when bool, what string) {
		if when {
			out = append(out, what)
		}
	}
	element := strings.HasSuffix(path, "[]") || strings.HasSuffix(path, "{}")
	complain(field.Description == "" && !element, "has no description")
	complain(field.Type == "boolean", "is a boolean; use an enum")
	complain(field.Type == "string" && field.MaxLength == nil && len(field.Enum) == 0, "is a string without maxLength")
	complain(field.Type == "array" && field.MaxItems == nil, "is a list without maxItems")
	complain(field.Type == "array" && field.XListType == nil, "is a list without a list type")
	complain(field.AdditionalProperties != nil && field.MaxProperties == nil, "is a map without maxProperties")
	complain(field.Type == "integer" && field.Minimum == nil, "is a number without minimum")
	complain(field.XPreserveUnknownFields != nil, "takes unknown fields")
	for _, rule := range field.XValidations {
		complain(rule.Message == "", "has a rule without a sentence")
		complain(strings.Contains(rule.Message, "\n"), "has a rule whose message has lines")
	}
	return out
}

func walk(path string, field apiextensionsv1.JSONSchemaProps, visit func(string, apiextensionsv1.JSONSchemaProps)) {
	visit(path, field)
	for name, property := range field.Properties {
		walk(path+"."+name, property, visit)
	}
	if field.Items != nil && field.Items.Schema != nil {
		walk(path+"[]", *field.Items.Schema, visit)
	}
	if field.AdditionalProperties != nil && field.AdditionalProperties.Schema != nil {
		walk(path+"{}", *field.AdditionalProperties.Schema, visit)
	}
}

func TestNoSpecFieldIsRequired(t *testing.T) {
	schema := crd(t).Spec.Versions[0].Schema.OpenAPIV3Schema
	spec := schema.Properties["spec"]
	if len(schema.Required) > 0 || len(spec.Required) > 0 || spec.Default == nil {
		t.Errorf("an ImageCSIDriver without a spec is not complete: required %q and %q, default %v", schema.Required, spec.Required, spec.Default)
	}
}

func TestTheStatusBoundsAreThoseOfTheSchema(t *testing.T) {
	status := crd(t).Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["status"]
	problems, classes := status.Properties["problems"], status.Properties["nodeClasses"]
	message := problems.Items.Schema.Properties["message"]
	updating := status.Properties["rollout"].Properties["updating"]
	failure := status.Properties["rollout"].Properties["failure"].Properties["message"]
	sentence := status.Properties["rollout"].Properties["message"]
	versions := classes.Items.Schema.Properties["runtimeVersions"]
	for what, pair := range map[string][2]int64{
		"problems":         {*problems.MaxItems, MaxProblems},
		"problem messages": {*message.MaxLength, MaxProblemMessage},
		"ignored pods":     {*status.Properties["ignoredPods"].MaxItems, MaxIgnoredPods},
		"updating nodes":   {*updating.MaxItems, MaxUpdatingNodes},
		"failure messages": {*failure.MaxLength, MaxProblemMessage},
		"rollout messages": {*sentence.MaxLength, MaxProblemMessage},
		"node classes":     {*classes.MaxItems, MaxClassStatuses},
		"runtime versions": {*versions.MaxItems, MaxRuntimeVersions},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: the schema says %d, the constant %d", what, pair[0], pair[1])
		}
	}
}
