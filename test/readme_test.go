// Package test_test holds the page on the tests to the tests.
package test_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestThePageNamesTestsThatAreThere(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, dir := range []string{".", "../internal", "../cmd"} {
		addTests(t, there, dir)
	}
	row, name := regexp.MustCompile(`^\| ([A-Z][a-z ]+) \|`), regexp.MustCompile("`((?:Test|Fuzz|Benchmark)\\w+)`")
	parts := 0
	for line := range strings.Lines(string(page)) {
		part := row.FindStringSubmatch(line)
		if part == nil {
			continue
		}
		parts++
		named := name.FindAllStringSubmatch(line, -1)
		if len(named) == 0 {
			t.Errorf("%s has no tests", part[1])
		}
		for _, n := range named {
			if !there[n[1]] {
				t.Errorf("%s names %s, which does not exist", part[1], n[1])
			}
		}
	}
	if parts != 10 {
		t.Errorf("%d parts of the node plugin's behaviour, want 10", parts)
	}
}

// addTests adds the names of all test functions beneath a directory.
func addTests(t *testing.T, there map[string]bool, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, declaration := range file.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Recv == nil {
				there[function.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
