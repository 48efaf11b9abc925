package admission

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagerules"
)

const policies = "../../config/admission/"

// policy is a ValidatingAdmissionPolicy's CEL, compiled without an API server.
type policy struct {
	variables   []variable
	validations []cel.Program
}

type variable struct {
	name    string
	program cel.Program
}

// load compiles the policy in a file of config/admission. Each variable may use those before it.
func load(t testing.TB, file string) policy {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(policies, file))
	if err != nil {
		t.Fatal(err)
	}
	var object admissionv1.ValidatingAdmissionPolicy
	if err := yaml.Unmarshal([]byte(strings.Split(string(text), "\n---\n")[0]), &object); err != nil {
		t.Fatal(err)
	}
	compile := compiler(t, file)
	var out policy
	for _, v := range object.Spec.Variables {
		out.variables = append(out.variables, variable{v.Name, compile(v.Expression)})
	}
	for _, v := range object.Spec.Validations {
		out.validations = append(out.validations, compile(v.Expression))
	}
	return out
}

// compiler returns what compiles the expressions of a file.
func compiler(t testing.TB, file string) func(expression string) cel.Program {
	t.Helper()
	// What Kubernetes' own environment has of it (k8s.io/apiserver/pkg/cel/environment).
	env, err := cel.NewEnv(cel.OptionalTypes(), ext.Strings(ext.StringsVersion(2)), cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType),
		cel.Variable("params", cel.DynType), cel.Variable("variables", cel.MapType(cel.StringType, cel.DynType)))
	if err != nil {
		t.Fatal(err)
	}
	return func(expression string) cel.Program {
		ast, issues := env.Compile(expression)
		if issues.Err() != nil {
			t.Fatalf("%s: %s: %v", file, expression, issues.Err())
		}
		program, err := env.Program(ast)
		if err != nil {
			t.Fatal(err)
		}
		return program
	}
}

// admits reports whether every validation of an object passes.
func (p policy) admits(object, params map[string]any) (bool, error) {
	variables := map[string]any{}
	in := map[string]any{"object": object, "params": params, "variables": variables}
	for _, v := range p.variables {
		value, _, err := v.program.Eval(in)
		if err != nil {
			return false, fmt.Errorf("variable %s: %w", v.name, err)
		}
		variables[v.name] = value
	}
	for _, validation := range p.validations {
		value, _, err := validation.Eval(in)
		if err != nil {
			return false, err
		}
		if value.Value() != true {
			return false, nil
		}
	}
	return true, nil
}

const driver = "held.example.com"

func pod(reference string) map[string]any {
	return map[string]any{"spec": map[string]any{"volumes": []any{map[string]any{"name": "v", "csi": map[string]any{
		"driver": driver, "volumeAttributes": map[string]any{contract.ImageAttribute: reference}}}}}}
}

func persistentVolume(reference string) map[string]any {
	return map[string]any{"spec": map[string]any{"csi": map[string]any{"driver": driver, "volumeHandle": reference}}}
}

func params(rules contract.ImageRules) map[string]any {
	security := map[string]any{"imagePinning": rules.ImagePinning}
	if rules.ImagePinning == "" {
		security["imagePinning"] = contract.PinningOptional // the API's default
	}
	if len(rules.AllowedImages) > 0 {
		allowed := make([]any, 0, len(rules.AllowedImages))
		for _, image := range rules.AllowedImages {
			allowed = append(allowed, image)
		}
		security["allowedImages"] = allowed
	}
	return map[string]any{"metadata": map[string]any{"name": driver}, "spec": map[string]any{"security": security}}
}

// pluginAllows asks the node plugin; ok is false for what is no reference, which it mounts in no case.
func pluginAllows(t *testing.T, rules contract.ImageRules, image string) (allowed, ok bool) {
	t.Helper()
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return false, false
	}
	text, err := yaml.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	text, err = yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := imagerules.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Check(named) == nil, true
}

// agree wants the early answer to be the node plugin's.
func (p policy) agree(t *testing.T, rules contract.ImageRules, image string) {
	t.Helper()
	plugin, ok := pluginAllows(t, rules, image)
	for kind, object := range map[string]map[string]any{"pod": pod(image), "PersistentVolume": persistentVolume(image)} {
		admitted, err := p.admits(object, params(rules))
		if err != nil {
			t.Errorf("%+v, %s with %q: the policy fails: %v", rules, kind, image, err)
		}
		if ok && admitted != plugin {
			t.Errorf("%+v, %s with %q: the policy admits it: %t, the node plugin: %t", rules, kind, image, admitted, plugin)
		}
	}
}

// references is one entry of the table that the node plugin is tried on.
type references struct {
	Rules            contract.ImageRules
	Allowed, Refused []string
}

func table(t testing.TB) []references {
	t.Helper()
	text, err := os.ReadFile("../../internal/nodeplugin/imagerules/testdata/references.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []references
	if err := yaml.UnmarshalStrict(text, &out); err != nil || len(out) == 0 {
		t.Fatal(len(out), "entries:", err)
	}
	return out
}

func TestThePolicyAndTheNodePluginHoldImagesToTheSameRules(t *testing.T) {
	p := load(t, "volume_images.yaml")
	for _, entry := range table(t) {
		for _, image := range append(entry.Allowed, entry.Refused...) {
			if _, ok := pluginAllows(t, entry.Rules, image); !ok {
				t.Errorf("%q is no reference", image)
			}
			p.agree(t, entry.Rules, image)
		}
	}
}

// allowedImage is what the API takes as an entry of spec.security.allowedImages.
var allowedImage = regexp.MustCompile(`^([a-z0-9-]+([.][a-z0-9-]+)+(:[0-9]+)?|[a-z0-9-]+:[0-9]+|localhost)(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?$`)

// FuzzImages wants the policy to answer like the node plugin for every reference and every entry of the list, and to fail for
// no text at all.
func FuzzImages(f *testing.F) {
	p := load(f, "volume_images.yaml")
	for _, entry := range table(f) {
		for i, image := range append(entry.Allowed, entry.Refused...) {
			f.Add(image, strings.Join(entry.Rules.AllowedImages[:min(1, len(entry.Rules.AllowedImages))], ""), i%2 == 0)
		}
	}
	for _, image := range []string{"", "/", ":", "@", "docker.io/", "index.docker.io/", "a//b", "\x00/x", "É/x", "é/x", "docker.io/index.docker.io/x", "localhost", "x@sha256:"} {
		f.Add(image, "docker.io/", false)
	}
	f.Fuzz(func(t *testing.T, image, allowed string, pinned bool) {
		var rules contract.ImageRules
		if allowedImage.MatchString(allowed) && strings.Contains(allowed, "/") {
			rules.AllowedImages = []string{allowed}
		}
		if pinned {
			rules.ImagePinning = contract.PinningDigest
		}
		if strings.ToValidUTF8(image, "") == image { // JSON has no other
			p.agree(t, rules, image)
		}
	})
}
