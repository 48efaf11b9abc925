package v1alpha1

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/reference"
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
	return strings.HasPrefix(path, ".status.conditions[].") ||
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
	complain(field.Type == "string" && field.MaxLength == nil && len(field.Enum) == 0 && field.Format != "date-time", "is a string without maxLength")
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

// The rule stands in for the parser of image references, which CEL does not have.
func TestTheRuleForImagesIsTheGrammarOfReferences(t *testing.T) {
	image := crd(t).Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["nodePlugin"].Properties["image"]
	rules := regexp.MustCompile(`^self\.matches\('(.*)'\) && !self\.matches\('(.*)'\)$`).FindStringSubmatch(image.XValidations[0].Rule)
	if len(rules) != 3 {
		t.Fatalf("the rule is %q", image.XValidations[0].Rule)
	}
	is, isNot := regexp.MustCompile(rules[1]), regexp.MustCompile(rules[2])
	digest := "@sha256:" + strings.Repeat("0a", 32)
	for _, text := range []string{
		"plugin", "team/plugin", "r.example/plugin", "r.example:5000/a/b/c:1", "localhost/a", "Host/a", "[::1]:5000/a", "[::1]/a", "a--b/c__d.e", "a:1" + digest,
		"a" + digest, "a@sha512:" + strings.Repeat("0a", 64), "10.0.0.1:80/a", "xn--n3h.com/a", "a:" + strings.Repeat("t", 128),
		"", " ", "a ", "A", "a/B", "a//b", "/a", "a/", "a:", "a:-", "a:" + strings.Repeat("t", 129), "a@", "a@sha256:0a", "a@md5:" + strings.Repeat("0a", 16),
		"a@sha256:" + strings.Repeat("0A", 32), "https://r.example/a", "a___b", "a._b", "-a", "a-", "host:port/a", "a\nb", "[::1/a", strings.Repeat("0a", 32),
		"-h.example/a", "r..example/a", "r.example:/a",
	} {
		_, err := reference.ParseNormalizedNamed(text)
		if allowed := is.MatchString(text) && !isNot.MatchString(text); allowed != (err == nil) {
			t.Errorf("%q: the rule takes it: %v; the parser: %v", text, allowed, err)
		}
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
		"looser fields":    {*classes.Items.Schema.Properties["confinement"].Properties["looser"].MaxItems, MaxLooserFields},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: the schema says %d, the constant %d", what, pair[0], pair[1])
		}
	}
}
