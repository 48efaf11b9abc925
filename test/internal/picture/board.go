package picture

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Board is what is drawn of a dashboard.
type Board struct{ Panels []Panel }

// Panel is a panel, or the heading of a row of them.
type Panel struct {
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Targets     []Target
	FieldConfig struct {
		Defaults  settings
		Overrides []struct {
			Matcher    struct{ Options any }
			Properties []struct {
				ID    string
				Value json.RawMessage
			}
		}
	}
}

// Target is a query of a panel.
type Target struct{ RefID, Expr, LegendFormat string }

type settings struct {
	Unit, NoValue string
	Custom        struct{ Stacking struct{ Mode string } }
	Thresholds    struct {
		Steps []struct {
			Value *float64
			Color string
		}
	}
	Mappings []mapping
}

type mapping struct {
	Options map[string]struct{ Text, Color string }
}

// Read reads a dashboard.
func Read(file string) (Board, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Board{}, err
	}
	var out Board
	if err := json.Unmarshal(text, &out); err != nil {
		return Board{}, fmt.Errorf("read %s: %w", file, err)
	}
	return out, nil
}

// Query is the target's, with everything chosen, and a rate's interval.
func (t Target) Query(interval string) string {
	return strings.ReplaceAll(regexp.MustCompile(`\$(driver|class|node)\b`).ReplaceAllString(t.Expr, ".*"), "$__rate_interval", interval)
}

// Section is a row of panels with its heading, whose title it has.
func (b Board) Section(title string) []Panel {
	var found []Panel
	for _, p := range b.Panels {
		if p.Type == "row" {
			if len(found) > 0 {
				break
			}
			if p.Title != title {
				continue
			}
		}
		if p.Type == "row" || len(found) > 0 {
			found = append(found, p)
		}
	}
	return found
}

// word is what stands for a value of a query, and its colour.
func (p Panel) word(target string, value float64) (string, string) {
	mappings := p.FieldConfig.Defaults.Mappings
	for _, override := range p.FieldConfig.Overrides {
		for _, property := range override.Properties {
			if override.Matcher.Options == target && property.ID == "mappings" {
				mappings = nil
				_ = json.Unmarshal(property.Value, &mappings)
			}
		}
	}
	for _, m := range mappings {
		if stands, is := m.Options[fmt.Sprint(value)]; is {
			return stands.Text, colors[stands.Color]
		}
	}
	color := ""
	for _, step := range p.FieldConfig.Defaults.Thresholds.Steps {
		if step.Value == nil || value >= *step.Value {
			color = colors[step.Color]
		}
	}
	return amount(value, p.FieldConfig.Defaults.Unit), color
}

// colors are Grafana's.
var colors = map[string]string{"green": "#56a64b", "orange": "#ff780a", "red": "#e02f44", "blue": "#3274d9", "text": "#6e7687"}

// amount is a number with its unit, short.
func amount(value float64, unit string) string {
	number := func(v float64) string {
		text := strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
		if v != 0 && text == "0" {
			return fmt.Sprintf("%.1g", v)
		}
		return text
	}
	switch unit {
	case "percentunit":
		return number(value*100) + " %"
	case "bytes", "Bps":
		size, suffix := value, " B"
		for _, next := range []string{" KiB", " MiB", " GiB"} {
			if size < 1024 {
				break
			}
			size, suffix = size/1024, next
		}
		if unit == "Bps" {
			suffix += "/s"
		}
		return number(size) + suffix
	case "s":
		if value < 1 {
			return number(value*1000) + " ms"
		}
		return number(value) + " s"
	case "ops", "reqps":
		return number(value) + "/s"
	}
	return number(value)
}
