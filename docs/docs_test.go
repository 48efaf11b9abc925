// Package docs_test holds the pages for users to what the code does.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// constants returns the string constants of a package whose names match.
func constants(t *testing.T, dir, names string) map[string]string {
	t.Helper()
	matching := regexp.MustCompile(names)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), dir+"/"+entry.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			spec, ok := node.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, name := range spec.Names {
				if i < len(spec.Values) && matching.MatchString(name.Name) {
					if literal, ok := spec.Values[i].(*ast.BasicLit); ok && literal.Kind == token.STRING {
						if found[name.Name], err = strconv.Unquote(literal.Value); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			return true
		})
	}
	if len(found) == 0 {
		t.Fatalf("%s has no constants that match %s", dir, names)
	}
	return found
}

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheOperatorsPageTellsEveryReasonConditionAndPhase(t *testing.T) {
	text := page(t, "operator.md")
	for dir, names := range map[string]string{
		"../internal/operator/status":    "^(Reason|Removal)[A-Z]",
		"../internal/operator/conflicts": "^Reason[A-Z]",
		"../api/v1alpha1":                "^(Condition|Problem|Phase)[A-Z]",
	} {
		for name, value := range constants(t, dir, names) {
			if !strings.Contains(text, "`"+value+"`") {
				t.Errorf("operator.md does not tell `%s` (%s)", value, name)
			}
		}
	}
}

func TestTheOperatorsPageTellsEveryMetric(t *testing.T) {
	text := page(t, "operator.md")
	names := regexp.MustCompile(`"(imagecsi_[a-z_]+)"`).FindAllStringSubmatch(page(t, "../controllers/metrics.go"), -1)
	if len(names) == 0 {
		t.Fatal("controllers/metrics.go names no metrics")
	}
	for _, name := range names {
		if !strings.Contains(text, "`"+name[1]+"`") {
			t.Errorf("operator.md does not tell the metric %s", name[1])
		}
	}
}

func TestTheOperatorsPageTellsEverySpan(t *testing.T) {
	text := page(t, "operator.md")
	files, err := filepath.Glob("../controllers/*.go")
	if err != nil {
		t.Fatal(err)
	}
	phases := 0
	for _, file := range files {
		for _, name := range regexp.MustCompile(`(?:r\.span\(ctx, |\{name: )"([^"]+)"(?:\)|, do: r\.)`).FindAllStringSubmatch(page(t, file), -1) {
			if phases++; !strings.Contains(text, "`"+name[1]+"`") {
				t.Errorf("operator.md does not tell the span %s of %s", name[1], file)
			}
		}
	}
	if phases == 0 {
		t.Fatal("controllers have no phases")
	}
}

// alerts returns the alerts' names in their order, and for how long each has to hold.
func alerts(t *testing.T) (names []string, holds map[string]string) {
	t.Helper()
	holds = map[string]string{}
	for _, source := range []struct{ file, pattern string }{
		{"../internal/operator/render/alerts.go", `name: "(\w+)", holds: "(\w+)"`},
		{"../config/monitoring/operator_alerts.yaml", `(?s)- alert: (\w+)\n.*?for: (\w+)\n`},
	} {
		found := regexp.MustCompile(source.pattern).FindAllStringSubmatch(page(t, source.file), -1)
		if len(found) == 0 {
			t.Fatalf("%s has no alerts", source.file)
		}
		for _, alert := range found {
			names = append(names, alert[1])
			holds[alert[1]] = alert[2]
		}
	}
	return names, holds
}

func TestTheRunbooksHaveASectionForEveryAlertAndNoOther(t *testing.T) {
	headings := []string{}
	for _, heading := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(page(t, "runbooks.md"), -1) {
		headings = append(headings, heading[1])
	}
	names, _ := alerts(t)
	if !slices.Equal(headings, names) {
		t.Errorf("sections %q, alerts %q", headings, names)
	}
}

func TestTheOperatorsPageTellsEveryAlertAndNoOther(t *testing.T) {
	names, holds := alerts(t)
	rows := regexp.MustCompile("(?m)^\\| \\[`(ImageCSI\\w+)`\\]\\(runbooks.md#(\\w+)\\) \\| .+ \\| (\\w+) \\|$").FindAllStringSubmatch(page(t, "operator.md"), -1)
	told := []string{}
	for _, row := range rows {
		told = append(told, row[1])
		if row[2] != strings.ToLower(row[1]) || row[3] != holds[row[1]] {
			t.Errorf("operator.md says of %s: %s for %s; it holds %s", row[1], row[2], row[3], holds[row[1]])
		}
	}
	if !slices.Equal(told, names) {
		t.Errorf("operator.md tells %q, alerts are %q", told, names)
	}
}

// The policy that warns of unknown attributes has a list of the known ones.
func TestThePolicyThatWarnsKnowsEveryVolumeAttribute(t *testing.T) {
	policy := page(t, "../config/admission/volume_attributes.yaml")
	list := regexp.MustCompile(`name: known\n +expression: "\[(.*)\]"`).FindStringSubmatch(policy)
	if list == nil {
		t.Fatal("the policy has no list of known attributes")
	}
	known := strings.Split(strings.ReplaceAll(list[1], "'", ""), ", ")
	var want []string
	for _, key := range constants(t, "../internal/contract", "Attribute$") {
		if !strings.Contains(key, "/") {
			want = append(want, key)
		}
	}
	slices.Sort(known)
	slices.Sort(want)
	if !slices.Equal(known, want) {
		t.Errorf("the policy knows %q, the node plugin %q", known, want)
	}
}
