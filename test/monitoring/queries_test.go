package monitoring

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/metrics"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// exported has the labels of every metric that a query can find, by the name that a query asks for.
type exported map[string]sets.Set[string]

func (e exported) add(families map[string]*dto.MetricFamily, ofScrape ...string) {
	for name, family := range families {
		labels := sets.New(ofScrape...)
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels.Insert(label.GetName())
		}
		if family.GetType() != dto.MetricType_HISTOGRAM {
			e[name] = labels
			continue
		}
		e[name+"_sum"], e[name+"_count"], e[name+"_bucket"] = labels, labels, labels.Union(sets.New(model.BucketLabel))
	}
}

// everything is what the operator and the node plugins export once there is something to tell of each.
func everything(t *testing.T) exported {
	t.Helper()
	out := exported{}
	registry := prometheus.NewRegistry()
	registry.MustRegister(controllers.NewStatusMetrics(oneDriver{}))
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	operator := map[string]*dto.MetricFamily{}
	for _, family := range gathered {
		operator[family.GetName()] = family
	}
	out.add(operator)
	endpoint := rendered(t, render.PodMonitor())["podMetricsEndpoints"].([]any)[0].(map[string]any)
	var ofScrape []string
	for _, relabeling := range endpoint["relabelings"].([]any) {
		ofScrape = append(ofScrape, relabeling.(map[string]any)["targetLabel"].(string))
	}
	out.add(nodePlugin(t), ofScrape...)
	return out
}

// oneDriver is a cache with a driver whose status has all there is.
type oneDriver struct{ client.Reader }

func (oneDriver) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.ImageCSIDriverList).Items = []v1alpha1.ImageCSIDriver{{
		ObjectMeta: metav1.ObjectMeta{Name: "d"},
		Status: v1alpha1.ImageCSIDriverStatus{
			NodeClasses: []v1alpha1.NodeClassStatus{{Name: "containerd"}},
			Unsupported: []v1alpha1.UnsupportedNodes{{Reason: v1alpha1.ProblemOSUnsupported}},
			Conditions:  []metav1.Condition{{Type: v1alpha1.ConditionAvailable, Status: metav1.ConditionTrue}},
			Rollout:     &v1alpha1.RolloutStatus{Phase: v1alpha1.PhaseComplete},
		},
	}}
	return nil
}

// nodePlugin is what a scrape of a node plugin finds after a publish with a pull.
func nodePlugin(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	m := metrics.New()
	m.CollectUsage(func(context.Context) (volume.Usage, error) { return volume.Usage{}, nil }, func() legacy.Counts { return legacy.Counts{} })
	m.Operation("NodePublishVolume", "OK", time.Second)
	m.PullEnded(pull.Ended{Image: "r.example/a:1", Result: "OK", Took: time.Second})
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := expfmt.NewTextParser(model.UTF8Validation)
	families, err := text.TextToMetricFamilies(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// queries of the dashboard's panels and of the alerts, by where they are.
func queries(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../config/monitoring/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			out["panel "+panel.Title+" "+target.RefID] = strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")
		}
	}
	for _, variable := range dashboard.Templating.List {
		if asked := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(variable.Definition); asked != nil {
			out["variable "+variable.Name] = "count by (" + asked[2] + ") (" + asked[1] + ")"
		}
	}
	for _, rule := range rendered(t, render.PrometheusRule())["groups"].([]any)[0].(map[string]any)["rules"].([]any) {
		alert := rule.(map[string]any)
		out["alert "+alert["alert"].(string)] = alert["expr"].(string)
	}
	return out
}

func TestEveryQueryAsksForMetricsAndLabelsThatExist(t *testing.T) {
	metrics := everything(t)
	asked := queries(t)
	if len(asked) < 20 {
		t.Fatalf("found %d queries only", len(asked))
	}
	for where, query := range asked {
		expression, err := parser.NewParser(parser.Options{}).ParseExpr(query)
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		found := sets.New[string]()
		var grouped []string
		parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
			switch node := node.(type) {
			case *parser.AggregateExpr:
				grouped = append(grouped, node.Grouping...)
			case *parser.VectorSelector:
				labels, exists := metrics[node.Name]
				if !exists {
					t.Errorf("%s asks for %s, which nothing exports", where, node.Name)
				}
				for _, matcher := range node.LabelMatchers {
					if matcher.Name != model.MetricNameLabel && !labels.Has(matcher.Name) {
						t.Errorf("%s asks for %s by %s, which it does not have", where, node.Name, matcher.Name)
					}
				}
				found = found.Union(labels)
			}
			return nil
		})
		if len(found) == 0 || !found.HasAll(grouped...) {
			t.Errorf("%s groups by %q; its metrics have %q", where, grouped, slices.Sorted(maps.Keys(found)))
		}
	}
}
