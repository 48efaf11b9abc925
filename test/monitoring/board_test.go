package monitoring

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// board is what this package reads of the dashboard.
type board struct {
	Panels     []panel
	Links      []struct{ URL string }
	Templating struct{ List []variable }
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               struct{ UID string }
	Links                    []struct{ URL string }
	Targets                  []target
	FieldConfig              struct {
		Defaults struct {
			Unit, NoValue string
			Thresholds    struct{ Steps []struct{ Color string } }
			Mappings      []any
		}
		Overrides []struct{ Properties []struct{ ID string } }
	}
}

type target struct{ RefID, Expr, LegendFormat string }

type variable struct {
	Name, Definition, AllValue string
}

func dashboard(t *testing.T) board {
	t.Helper()
	text, err := os.ReadFile("../../config/dashboard/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var out board
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// shown are the panels that have queries.
func (b board) shown() []panel {
	return slices.DeleteFunc(slices.Clone(b.Panels), func(p panel) bool { return p.Type == "row" })
}

const columns = 24

func TestNoPanelLiesOverAnother(t *testing.T) {
	owner := map[[2]int]string{}
	ids := map[int]string{}
	for _, p := range dashboard(t).Panels {
		if ids[p.ID] != "" || p.ID == 0 {
			t.Errorf("%q and %q both have the id %d", p.Title, ids[p.ID], p.ID)
		}
		ids[p.ID] = p.Title
		if p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X < 0 || p.GridPos.X+p.GridPos.W > columns {
			t.Errorf("%q is at %+v", p.Title, p.GridPos)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := owner[[2]int{x, y}]; other != "" {
					t.Fatalf("%q lies over %q", p.Title, other)
				}
				owner[[2]int{x, y}] = p.Title
			}
		}
	}
	if len(ids) < 40 {
		t.Errorf("found %d panels only", len(ids))
	}
	if lines := len(owner) / columns; lines*columns != len(owner) {
		t.Errorf("some line of %d is not filled", lines)
	}
}

func TestEveryPanelSaysWhatItShows(t *testing.T) {
	titles := map[string]bool{}
	for _, p := range dashboard(t).shown() {
		defaults := p.FieldConfig.Defaults
		if p.Title == "" || titles[p.Title] {
			t.Errorf("the title %q is no panel's own", p.Title)
		}
		titles[p.Title] = true
		if !strings.HasSuffix(p.Description, ".") || defaults.Unit == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%q lacks something: %+v", p.Title, p)
		}
		for _, target := range p.Targets {
			if target.LegendFormat == "" && (p.Type != "stat" || len(p.Targets) > 1) && p.Type != "table" {
				t.Errorf("query %s of %q has no legend", target.RefID, p.Title)
			}
		}
		// A colour stands beside a number or a word.
		if p.Type == "stat" && len(defaults.Thresholds.Steps) < 2 && len(defaults.Mappings) == 0 && defaults.Thresholds.Steps[0].Color != "blue" {
			t.Errorf("%q has no thresholds", p.Title)
		}
		if p.Type == "state-timeline" && len(defaults.Mappings) == 0 && len(p.FieldConfig.Overrides) != len(p.Targets) {
			t.Errorf("%q shows states as numbers", p.Title)
		}
	}
}

// Each node is a line in no panel: there may be thousands.
func TestNodesAreNamedInRankingsOnly(t *testing.T) {
	byNode := regexp.MustCompile(`by \([^)]*\bnode\b`)
	for _, p := range dashboard(t).shown() {
		for _, target := range p.Targets {
			counted := strings.HasPrefix(target.Expr, "count(") || strings.HasPrefix(target.Expr, "topk(10,") || strings.Contains(target.Expr, "ALERTS{")
			if (byNode.MatchString(target.Expr) || strings.Contains(target.LegendFormat, "node}}")) && !counted {
				t.Errorf("%q has a line for each node: %s", p.Title, target.Expr)
			}
		}
	}
}

// Without the operator's metrics these panels are empty, so they say why, and the others are about node plugins.
func TestPanelsSayThatTheOperatorIsNotScraped(t *testing.T) {
	operators := regexp.MustCompile(`imagecsi_driver_|controller_runtime_|workqueue_|rest_client_|leader_election_|job="image-csi-operator-metrics"`)
	ours, theirs := 0, 0
	for _, p := range dashboard(t).shown() {
		if operators.MatchString(p.Targets[0].Expr) {
			theirs++
			if p.FieldConfig.Defaults.NoValue != "The operator is not scraped" {
				t.Errorf("%q says %q where the operator is not scraped", p.Title, p.FieldConfig.Defaults.NoValue)
			}
		} else {
			ours++
		}
	}
	if theirs < 10 || ours < 20 {
		t.Errorf("%d panels are about the operator and %d are not", theirs, ours)
	}
	for _, v := range dashboard(t).Templating.List {
		if v.Name != "datasource" && (v.AllValue != ".*" || !strings.Contains(v.Definition, "imagecsi_pulls_in_flight")) {
			t.Errorf("the variable %s needs the operator's metrics, or has no short form of all: %+v", v.Name, v)
		}
	}
}

func TestTheDashboardsLinksResolve(t *testing.T) {
	all := slices.Clone(dashboard(t).Links)
	for _, p := range dashboard(t).shown() {
		all = append(all, p.Links...)
	}
	if len(all) < 15 {
		t.Errorf("found %d links only", len(all))
	}
	for _, link := range all {
		page, found := strings.CutPrefix(link.URL, "https://github.com/image-csi/image-csi-operator/blob/main/")
		page, anchor, _ := strings.Cut(page, "#")
		text, err := os.ReadFile(filepath.Join("../..", page))
		if !found || err != nil {
			t.Errorf("%s: %v", link.URL, err)
			continue
		}
		if anchor != "" && !regexp.MustCompile(`(?mi)^## `+regexp.QuoteMeta(anchor)+`$`).Match(text) {
			t.Errorf("%s has no heading %s", page, anchor)
		}
	}
}

// What a node's fault is stands with the alerts, and the dashboard counts the same.
func TestTheDashboardCountsWhatTheAlertsFireFor(t *testing.T) {
	for _, alert := range []string{"ImageCSIPublishFailing", "ImageCSIPullsFailing"} {
		excluded := regexp.MustCompile(`(code|result)!~"[^"]+"`).FindString(queries(t)["alert "+alert])
		found := false
		for _, p := range dashboard(t).shown() {
			if p.Type == "stat" && len(p.Links) > 0 && strings.HasSuffix(p.Links[0].URL, "#"+strings.ToLower(alert)) {
				found = excluded != "" && strings.Contains(p.Targets[0].Expr, excluded)
			}
		}
		if !found {
			t.Errorf("no number excludes %s as %s does", excluded, alert)
		}
	}
}
