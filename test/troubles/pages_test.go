package troubles

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/docs/blocks"
	"github.com/image-csi/image-csi-operator/hack/cluster"
)

// here puts the cluster's registry, and what only the reader knows of it, in the place of what pages and samples have.
func (s *suite) here(text string) string {
	return strings.NewReplacer("registry.example/team/", s.Registry()+"/private/alice/", "registry.example", s.Registry(),
		"USER", "alice", "PASSWORD", cluster.RegistryPassword("alice")).Replace(text)
}

// followPages does what every page of docs/how-to/ says, from top to bottom, but for blocks that the page says cannot be run.
func followPages(t *testing.T, s *suite) {
	pages, err := filepath.Glob(filepath.Join(s.Root, "docs/how-to/*.md"))
	if err != nil || len(pages) < 5 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, block := range blocks.Of(string(text)) {
				if block.Reason() == "" {
					s.follow(t, block)
				}
			}
		})
	}
}

// follow does what a block of a page says: commands are run, manifests are applied, and of a driver's spec the API server is asked.
func (s *suite) follow(t *testing.T, block blocks.Block) {
	t.Helper()
	text := s.here(block.Text)
	switch {
	case block.Language == blocks.Shell:
		t.Logf("%s%s", text, s.MustShell(t, text))
	case block.Language == "yaml" && strings.HasPrefix(text, "spec:"):
		text = "apiVersion: storage.imagecsi.dev/v1alpha1\nkind: ImageCSIDriver\nmetadata: {name: page.example.com}\n" + text
		if _, err := s.Kubectl(t.Context(), text, "create", "--dry-run=server", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	case block.Language == "yaml":
		s.Apply(t, text)
	default:
		t.Errorf("nobody knows what to do with %q, which begins with %q; write the reason in a comment before it: not run: …", block.Language, block.First())
	}
}
