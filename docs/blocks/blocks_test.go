package blocks

import (
	"slices"
	"testing"
)

func TestBlocksOfAPage(t *testing.T) {
	const page = "# A\n\nText.\n\n    kubectl get pods\n    kubectl get \\\n      nodes\n\n    kubectl version\n\n```yaml\nspec:\n  a: b\n\n  c: d\n```\n\n" +
		"* item\n    continued\n\n  ```yaml\n  x: y\n  ```\n<!-- not run: it needs a cloud -->\n\n    aws\n\n<!-- other -->\nText.\n\n```mermaid\na\n```\n"
	want := []Block{
		{Shell, "kubectl get pods\nkubectl get \\\n  nodes\n", ""},
		{Shell, "kubectl version\n", ""},
		{"yaml", "spec:\n  a: b\n\n  c: d\n", ""},
		{"yaml", "x: y\n", ""},
		{Shell, "aws\n", "not run: it needs a cloud"},
		{"mermaid", "a\n", ""},
	}
	got := Of(page)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got[4].Reason() != "it needs a cloud" || got[0].Reason() != "" || got[2].First() != "spec:" {
		t.Errorf("reasons %q and %q, first line %q", got[4].Reason(), got[0].Reason(), got[2].First())
	}
}
