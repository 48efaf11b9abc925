package rollout

import (
	"os"
	"strings"
	"testing"
)

var (
	kindNames  = []string{changed: "changed", joined: "joined", broken: "broken", untouched: "untouched", earlier: "earlier", stray: "stray"}
	stateNames = []string{healthy: "healthy", settling: "settling", pending: "pending", failing: "failing", ending: "ending", away: "away", lost: "lost"}
	stageNames = []string{installing: "installing", canary: "canary", spreading: "spreading", proven: "proven", rollback: "rollback"}

	actionNames = []string{ignore: "–", proves: "proves", starting: "starting", silent: "silent", blocks: "blocks", fails: "fails", doubts: "doubts",
		stops: "stops", holds: "holds", turn: "turn", first: "first", atOnce: "atOnce", last: "last"}
)

// documented reads the table in docs/decisions, in which states with the same row share one.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/decisions/0030-rollout.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "### The table")
	rows := map[string][]string{}
	for line := range strings.Lines(after) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "| "), " | ")
		if len(cells) != 2+int(stages) {
			t.Fatalf("row %q has %d cells", line, len(cells))
		}
		for state := range strings.SplitSeq(cells[1], ", ") {
			key := cells[0] + " " + state
			if rows[key] != nil {
				t.Errorf("the page has two rows for %s", key)
			}
			rows[key] = cells[2:]
		}
	}
	return rows
}

func TestTheTableIsTheDocumentedOne(t *testing.T) {
	rows := documented(t)
	if got := strings.Join(rows["kind state"], " "); got != strings.Join(stageNames, " ") {
		t.Errorf("columns %q, want %v", got, stageNames)
	}
	delete(rows, "kind state")
	for k := range kinds {
		for s := range states {
			key := kindNames[k] + " " + stateNames[s]
			for at := range stages {
				if len(rows[key]) != int(stages) {
					t.Fatalf("the page has no row for %s", key)
				}
				if want := actionNames[table()[k][s][at]]; rows[key][at] != want {
					t.Errorf("%s, %s: the page says %q, the table %q", key, stageNames[at], rows[key][at], want)
				}
			}
			delete(rows, key)
		}
	}
	for key := range rows {
		t.Errorf("the page has a row for %s, which does not exist", key)
	}
}
