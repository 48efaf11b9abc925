package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// otherwise are errors that have no code of their own, and why.
var otherwise = map[string]string{
	"hostmount.ErrNoQuota":     "package volume tells it as ErrNoLimit",
	"hostmount.ErrNoPlainFile": "a record of the kubelet that cannot be read is logged, and the registry is asked",
}

// TestEveryErrorHasACode reads which errors the layers below export: one without a code would count as a defect of the node
// plugin, and make it unready.
func TestEveryErrorHasACode(t *testing.T) {
	text, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hostmount", "imagestore", "volume", "legacy", "imagerules", "content"} {
		errors := exportedErrors(t, filepath.Join("..", name))
		if len(errors) == 0 {
			t.Errorf("package %s has no exported errors any more: take it out here", name)
		}
		for _, e := range errors {
			known := name + "." + e
			if reason, excepted := otherwise[known]; strings.Contains(string(text), "{"+known+", codes.") == excepted {
				t.Errorf("%s has to be in the table of errors.go, or here with a reason (%q)", known, reason)
			}
		}
	}
}

func exportedErrors(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			if spec, ok := node.(*ast.ValueSpec); ok {
				for _, name := range spec.Names {
					if strings.HasPrefix(name.Name, "Err") {
						names = append(names, name.Name)
					}
				}
			}
			return true
		})
	}
	slices.Sort(names)
	return names
}
