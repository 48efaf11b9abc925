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
		"../internal/operator/status": "^(Reason|Removal)[A-Z]",
		"../internal/operator/claims": "^Reason[A-Z]",
		"../api/v1alpha1":             "^(Condition|Problem|Phase)[A-Z]",
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
		for _, name := range regexp.MustCompile(`r\.phase\(ctx, "([^"]+)"\)`).FindAllStringSubmatch(page(t, file), -1) {
			if phases++; !strings.Contains(text, "`"+name[1]+"`") {
				t.Errorf("operator.md does not tell the span %s of %s", name[1], file)
			}
		}
	}
	if phases == 0 {
		t.Fatal("controllers have no phases")
	}
}

func TestTheRunbooksHaveASectionForEveryAlertAndNoOther(t *testing.T) {
	headings := []string{}
	for _, heading := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(page(t, "runbooks.md"), -1) {
		headings = append(headings, heading[1])
	}
	alerts := []string{}
	for _, name := range regexp.MustCompile(`name: "(\w+)"`).FindAllStringSubmatch(page(t, "../internal/operator/render/alerts.go"), -1) {
		alerts = append(alerts, name[1])
	}
	if len(alerts) == 0 || !slices.Equal(headings, alerts) {
		t.Errorf("sections %q, alerts %q", headings, alerts)
	}
}
