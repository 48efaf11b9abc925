package bench

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"testing"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

//go:embed thresholds.yaml
var thresholdsFile []byte

// threshold bounds one figure.
type threshold struct {
	Name  string   `json:"name"`
	Unit  string   `json:"unit"`
	Most  *float64 `json:"most,omitempty"`
	Least *float64 `json:"least,omitempty"`
}

func (t threshold) met(value float64) bool {
	return (t.Most == nil || value <= *t.Most) && (t.Least == nil || value >= *t.Least)
}

// better reports whether one value is further from missing the threshold than another.
func (t threshold) better(one, other float64) bool {
	if t.Most != nil {
		return one < other
	}
	return one > other
}

func (t threshold) String() string {
	if t.Most != nil {
		return fmt.Sprintf("<= %.4g", *t.Most)
	}
	return fmt.Sprintf(">= %.4g", *t.Least)
}

func readThresholds() ([]threshold, error) {
	var all []threshold
	if err := yaml.UnmarshalStrict(thresholdsFile, &all); err != nil {
		return nil, fmt.Errorf("thresholds.yaml: %w", err)
	}
	for i, t := range all {
		if t.Name == "" || t.Unit == "" || (t.Most == nil) == (t.Least == nil) {
			return nil, fmt.Errorf("thresholds.yaml: entry %d needs a name, a unit and one of most and least", i)
		}
	}
	return all, nil
}

// tries is how often a figure is measured at most. Other work on the machine makes a figure worse and never better, so
// one try that meets the threshold shows that the program can.
const tries = 3

// report is the table that the run ends with.
type report struct {
	thresholds []threshold
	rows       []row
}

type row struct {
	threshold threshold
	value     float64
	detail    string
}

var results report

// measure takes a figure, again if it misses the threshold of that name, and keeps the best.
func measure(b *testing.B, name string, take func() (value float64, detail string)) {
	b.Helper()
	at := slices.IndexFunc(results.thresholds, func(t threshold) bool { return t.Name == name })
	if at < 0 {
		b.Fatalf("thresholds.yaml has no entry %q", name)
	}
	best := row{threshold: results.thresholds[at]}
	for try := range tries {
		value, detail := take()
		if try == 0 || best.threshold.better(value, best.value) {
			best.value, best.detail = value, detail
		}
		if best.threshold.met(best.value) {
			break
		}
	}
	results.rows = append(results.rows, best)
	if !best.threshold.met(best.value) {
		b.Errorf("%s: %.4g %s, want %s (%s)", name, best.value, best.threshold.Unit, best.threshold, best.detail)
	}
}

// print writes the table.
func (r report) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\t\tFIGURE\tMEASURED\tTHRESHOLD\tUNIT\tFROM")
	for _, row := range r.rows {
		verdict := "ok"
		if !row.threshold.met(row.value) {
			verdict = "MISS"
		}
		fmt.Fprintf(table, "\t%s\t%s\t%.4g\t%s\t%s\t%s\n",
			verdict, row.threshold.Name, row.value, row.threshold, row.threshold.Unit, row.detail)
	}
	return table.Flush()
}
