package monitoring

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// cases are a file of unit tests for rules, in the format that promtool reads. They are played by Prometheus' own packages, as promtool
// does: promtool itself needs the libraries of every cloud.
type cases struct {
	RuleFiles          []string        `json:"rule_files"`
	EvaluationInterval metav1.Duration `json:"evaluation_interval"`
	Tests              []ruleCase      `json:"tests"`
}

// ruleCase is metrics over a time, and what queries then find.
type ruleCase struct {
	Name     string          `json:"name"`
	Interval metav1.Duration `json:"interval"` // between two values of a series
	Input    []struct {
		Series string `json:"series"`
		Values string `json:"values"`
	} `json:"input_series"`
	Queries []struct {
		Expr string          `json:"expr"`
		Time metav1.Duration `json:"eval_time"`
		Want []struct {
			Labels string  `json:"labels"`
			Value  float64 `json:"value"`
		} `json:"exp_samples"`
	} `json:"promql_expr_test"`
}

// load is the case's metrics as promqltest reads them.
func (c ruleCase) load() string {
	var text strings.Builder
	fmt.Fprintf(&text, "load %s\n", c.Interval.Duration)
	for _, input := range c.Input {
		fmt.Fprintf(&text, "  %s %s\n", input.Series, input.Values)
	}
	return text.String()
}

// play evaluates the rules from time zero to the last query, a step of every apart, and then asks the queries.
func (c ruleCase) play(t *testing.T, every time.Duration, ruleFiles []string) {
	t.Helper()
	loader, err := promqltest.NewLazyLoader(c.load(), promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true})
	if err != nil {
		t.Fatal(err)
	}
	defer loader.Close()
	loader.SubqueryInterval = every
	groups := c.groups(t, loader, ruleFiles)
	var last time.Duration
	for _, query := range c.Queries {
		last = max(last, query.Time.Duration)
	}
	for at := time.Duration(0); at <= last; at += every {
		loader.WithSamplesTill(atTime(at), func(err error) {
			if err != nil {
				t.Fatal(err)
			}
			evaluate(t, loader, groups, atTime(at))
		})
	}
	for _, query := range c.Queries {
		var want []string
		for _, sample := range query.Want {
			metric, err := promqlParser.ParseMetric(sample.Labels)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, text(promql.Sample{Metric: metric, F: sample.Value}))
		}
		slices.Sort(want)
		if got := instant(t, loader, query.Expr, atTime(query.Time.Duration)); !slices.Equal(got, want) {
			t.Errorf("%s after %s is\n%q, want\n%q", query.Expr, query.Time.Duration, got, want)
		}
	}
}

var promqlParser = parser.NewParser(parser.Options{})

// atTime is a time of a case, which begins at zero.
func atTime(after time.Duration) time.Time { return time.Unix(0, 0).UTC().Add(after) }

// groups are the groups of rules, which write to the loader's storage.
func (c ruleCase) groups(t *testing.T, loader *promqltest.LazyLoader, ruleFiles []string) []*rules.Group {
	t.Helper()
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:  rules.EngineQueryFunc(loader.QueryEngine(), loader.Storage()),
		Appendable: loader.Storage(),
		Context:    t.Context(),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
		Logger:     slog.New(slog.DiscardHandler),
		Parser:     promqlParser,
	})
	loaded, errs := manager.LoadGroups(c.Interval.Duration, labels.EmptyLabels(), "", nil, false, ruleFiles...)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var groups []*rules.Group
	for _, group := range loaded {
		for _, alert := range group.AlertingRules() {
			alert.SetRestored(true) // Prometheus writes the series ALERTS of no others
		}
		groups = append(groups, group)
	}
	return groups
}

// evaluate evaluates the rules at a time.
func evaluate(t *testing.T, loader *promqltest.LazyLoader, groups []*rules.Group, at time.Time) {
	t.Helper()
	for _, group := range groups {
		group.Eval(loader.Context(), at)
		for _, rule := range group.Rules() {
			if err := rule.LastError(); err != nil {
				t.Fatalf("%s at %s: %v", rule.Name(), at, err)
			}
		}
	}
}

// instant is what a query finds at a time: samples with their labels, sorted.
func instant(t *testing.T, loader *promqltest.LazyLoader, expr string, at time.Time) []string {
	t.Helper()
	query, err := loader.QueryEngine().NewInstantQuery(loader.Context(), loader.Queryable(), nil, expr, at)
	if err != nil {
		t.Fatal(err)
	}
	defer query.Close()
	result := query.Exec(loader.Context())
	vector, err := result.Vector()
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	var found []string
	for _, sample := range vector {
		found = append(found, text(sample))
	}
	slices.Sort(found)
	return found
}

// text is what two samples are compared by.
func text(sample promql.Sample) string { return fmt.Sprintf("%s %g", sample.Metric, sample.F) }
