package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestEveryPathThatAPageNamesExists(t *testing.T) {
	paths := regexp.MustCompile(`(?:^|[^\w/.-])((?:api/v1alpha1|cmd/(?:manager|node-plugin|credential-provider|kubectl-imagecsi)|config/|controllers/|docs/|hack/|internal/(?:operator|nodeplugin|contract|quantity|credentialprovider|cli)\b|test/)[\w./-]*)`)
	named := 0
	for _, file := range pages(t) {
		for line := range strings.Lines(page(t, file)) {
			for _, found := range paths.FindAllStringSubmatch(line, -1) {
				path := strings.TrimRight(found[1], "./-")
				if _, err := os.Stat(filepath.Join("..", path)); err != nil {
					t.Errorf("%s names %s: %v", file, path, err)
				}
				named++
			}
		}
	}
	if named < 100 {
		t.Errorf("the pages name %d paths", named)
	}
}

func TestTheArchitecturePageHasEveryPhaseAndPackageOfTheWings(t *testing.T) {
	text := page(t, "architecture.md")
	for _, value := range constants(t, "../api/v1alpha1", "^Phase[A-Z]") {
		if !strings.Contains(text, "| `"+value+"` |") || !strings.Contains(text, "--> "+value+": ") {
			t.Errorf("the page lacks the phase %s in its table or its picture", value)
		}
	}
	// What a wing needs that is no step of the story.
	besides := []string{"grace", "keylock", "kubeletpods", "kubeletpulls", "imagerules", "recent", "recoverpanic", "signaturepolicy", "words"}
	for _, wing := range []string{"../internal/operator", "../internal/nodeplugin"} {
		entries, err := os.ReadDir(wing)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if !slices.Contains(besides, entry.Name()) && !regexp.MustCompile(`\b`+entry.Name()+`\b`).MatchString(text) {
				t.Errorf("the page lacks the package %s of %s", entry.Name(), wing)
			}
		}
	}
}
