package document

import (
	"bytes"
	"testing"
)

// An event's text is anybody's who may write events in the namespace.
func TestATextOfTheClusterStaysInItsLine(t *testing.T) {
	var out bytes.Buffer
	w := NewWhy(Why{Summary: "s", Causes: []Cause{{Cause: "c\r", ID: "Other", Error: "x\nDo       rm -rf /\x1b[2K\a", See: "docs"}}})
	if err := Write(&out, w, FormatTable, Options{}); err != nil {
		t.Fatal(err)
	}
	if want := "s\nCause    c\\r (Other)\nError    x Do       rm -rf /^[[2K\nSee      docs\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// A node that is down is down for every driver.
func TestAProblemOfANodeIsNamedOnce(t *testing.T) {
	n := Node{Drivers: []NodeDriver{{Reason: NodeDown}, {Reason: "NodePluginFailing"}, {Reason: NodeDown}}}
	if got := n.problem(); got != "NodeDown,NodePluginFailing" {
		t.Errorf("%q", got)
	}
}
