package rules

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// directory is config/admission from here, and from the packages whose tests hold its rules.
const directory = "../../config/admission"

// suite is a compiled package of tests, which read their policies from the directory that IMAGECSI_ADMISSION names.
type suite struct {
	dir, program, tests string
}

// failed matches the line of a test that failed, and of none of its parts.
var failed = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// fails runs the suite with the policies in a directory, and returns the tests that failed, with all that was printed. A run that fails
// without naming a test is an error: then it did not come to them.
func (s suite) fails(ctx context.Context, admission string) (names []string, said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	// The tests end their servers when they are told to end.
	command := exec.CommandContext(ctx, s.program, "-test.run="+s.tests, "-test.failfast", "-test.timeout=4m")
	command.Dir = s.dir
	command.Env = append(os.Environ(), "CI=true", "IMAGECSI_ADMISSION="+admission)
	out, err := command.CombinedOutput()
	for _, match := range failed.FindAllStringSubmatch(string(out), -1) {
		names = append(names, match[1])
	}
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) && len(names) > 0 {
		return names, string(out), nil
	}
	return nil, "", fmt.Errorf("%s: %w\n%s", s.program, err, out)
}

// rule is a validation of a policy.
type rule struct {
	file, policy string
	index        int
	message      string
}

func (r rule) String() string { return fmt.Sprintf("%s/%d", r.policy, r.index) }

// list returns the files of policies in the order of their kustomization.
func list(t *testing.T) []string {
	t.Helper()
	var kustomization struct{ Resources []string }
	if err := yaml.Unmarshal(read(t, "kustomization.yaml"), &kustomization); err != nil || len(kustomization.Resources) == 0 {
		t.Fatal(len(kustomization.Resources), "policies:", err)
	}
	return kustomization.Resources
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(directory, file))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// each calls visit with every rule of a file, which it may change, and returns the file's text afterwards.
func each(t *testing.T, file string, visit func(r rule, validation map[string]any)) string {
	t.Helper()
	var documents []string
	for text := range strings.SplitSeq(string(read(t, file)), "\n---\n") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(text), &object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		policy, _, _ := unstructured.NestedString(object, "metadata", "name")
		found, _, err := unstructured.NestedFieldNoCopy(object, "spec", "validations")
		if err != nil {
			t.Fatalf("%s, %s: %v", file, policy, err)
		}
		validations, _ := found.([]any) // a binding has none
		for i, v := range validations {
			validation, is := v.(map[string]any)
			if !is {
				t.Fatalf("%s, %s: validation %d is no object", file, policy, i)
			}
			message, _ := validation["message"].(string)
			visit(rule{file, policy, i, message}, validation)
		}
		out, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, string(out))
	}
	return strings.Join(documents, "---\n")
}

// without writes a copy of config/admission in which a rule admits everything.
func without(t *testing.T, dropped rule) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range append(list(t), "kustomization.yaml") {
		text := string(read(t, file))
		if file == dropped.file {
			text = each(t, file, func(r rule, validation map[string]any) {
				if r == dropped {
					validation["expression"] = "true"
				}
			})
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// compile builds the tests of a package, whose own directory they run in.
func compile(t *testing.T, dir, tests string) suite {
	t.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), filepath.Base(dir)+".test")
	command := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-o", program, ".")
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build the tests of %s: %v\n%s", dir, err, out)
	}
	return suite{dir, program, tests}
}

// TestEachRuleIsHeldByATest takes away one rule after the other, and wants a test to fail each time. Each is a run of its own on
// API servers of its own, so all take an hour. RULES is a regular expression of those to take, such as
// ^image-csi-operator-volumes/.
func TestEachRuleIsHeldByATest(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS is not set: no API server to test against; run this by make test-rules")
	}
	wanted, err := regexp.Compile(os.Getenv("RULES"))
	if err != nil {
		t.Fatal("RULES: ", err)
	}
	suites := []suite{
		compile(t, "../../controllers", `TheOperatorMay(Change|Write|Run|Create|Grant)|(Wants|Needs)Escalate|AKubeletMayNot|OnlyTheOperatorOf|ADaemonSetOfNoDriver|TestVolumes(Take|Name)|InVainIsTold`),
		compile(t, "../admission", `TestPoliciesStopNothingOfOthersWhateverIsMissing`),
	}
	whole, err := filepath.Abs(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range suites {
		if names, said, err := s.fails(t.Context(), whole); err != nil || len(names) > 0 {
			t.Fatalf("with every rule in place %v failed: %v\n%s", names, err, said)
		}
	}
	var rules []rule
	for _, file := range list(t) {
		each(t, file, func(r rule, _ map[string]any) { rules = append(rules, r) })
	}
	if len(rules) == 0 {
		t.Fatal("config/admission has no rules")
	}
	for _, r := range slices.DeleteFunc(rules, func(r rule) bool { return !wanted.MatchString(r.String()) }) {
		t.Run(r.String(), func(t *testing.T) { isHeld(t, suites, r) })
	}
}

// isHeld wants a test to fail without the rule.
func isHeld(t *testing.T, suites []suite, r rule) {
	dir := without(t, r)
	for _, s := range suites {
		names, _, err := s.fails(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(names) > 0 {
			t.Logf("%q: without it %s fails", r.message, strings.Join(names, ", "))
			return
		}
	}
	t.Errorf("%q: no test fails without it", r.message)
}
