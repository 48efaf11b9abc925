package monitoring

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"k8s.io/apimachinery/pkg/util/sets"
)

// labels are those that the results of an expression may have, and what is wrong in it: metrics and labels that do not exist.
func (e exported) labels(expression parser.Expr) (sets.Set[string], []string) {
	switch node := expression.(type) {
	case *parser.VectorSelector:
		return e.selected(node)
	case *parser.AggregateExpr:
		found, problems := e.labels(node.Expr)
		if node.Without {
			return found.Difference(sets.New(node.Grouping...)), problems
		}
		if missing := sets.New(node.Grouping...).Difference(found); len(missing) > 0 {
			problems = append(problems, fmt.Sprintf("%s does not have %q", node.Expr, sets.List(missing)))
		}
		if node.Op == parser.TOPK {
			return found, problems
		}
		return sets.New(node.Grouping...), problems
	case *parser.BinaryExpr:
		return e.both(node)
	}
	found, problems := sets.New[string](), []string(nil)
	for child := range parser.ChildrenIter(expression) {
		inside, wrong := e.labels(child.(parser.Expr))
		found, problems = found.Union(inside), append(problems, wrong...)
	}
	if call, is := expression.(*parser.Call); is && call.Func.Name == "histogram_quantile" {
		found.Delete(model.BucketLabel)
	}
	return found, problems
}

// both sides of an operator: what the results have for certain. A number has no labels and takes none away.
func (e exported) both(node *parser.BinaryExpr) (sets.Set[string], []string) {
	left, problems := e.labels(node.LHS)
	right, wrong := e.labels(node.RHS)
	problems = append(problems, wrong...)
	switch {
	case node.LHS.Type() == parser.ValueTypeScalar:
		return right, problems
	case node.RHS.Type() == parser.ValueTypeScalar:
		return left, problems
	}
	return left.Intersection(right), problems
}

func (e exported) selected(node *parser.VectorSelector) (sets.Set[string], []string) {
	names := []string{node.Name}
	if node.Name == "" {
		for _, matcher := range node.LabelMatchers {
			if matcher.Name == model.MetricNameLabel && matcher.Type == labels.MatchRegexp {
				names = strings.Split(matcher.Value, "|")
			}
		}
	}
	var found sets.Set[string]
	var problems []string
	for _, name := range names {
		labels, exists := e[name]
		if !exists {
			problems = append(problems, fmt.Sprintf("nothing exports %q", name))
			continue
		}
		if found == nil {
			found = labels
		}
		found = found.Intersection(labels)
	}
	if len(problems) > 0 {
		return found, problems
	}
	for _, matcher := range node.LabelMatchers {
		if matcher.Name != model.MetricNameLabel && !found.Has(matcher.Name) {
			problems = append(problems, fmt.Sprintf("%s does not have %q", strings.Join(slices.Sorted(slices.Values(names)), ", "), matcher.Name))
		}
	}
	return found, problems
}
