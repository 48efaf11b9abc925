package monitoring

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

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
		labels := sets.New(ofScrape...).Union(e[name]) // node plugins and the operator have the metrics of their processes in common
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
	out.add(gathered(t, registry), ofManager...)
	work(t)
	out.add(gathered(t, ctrlmetrics.Registry), ofManager...)
	endpoint := rendered(t, render.PodMonitor())["podMetricsEndpoints"].([]any)[0].(map[string]any)
	var ofScrape []string
	for _, relabeling := range endpoint["relabelings"].([]any) {
		ofScrape = append(ofScrape, relabeling.(map[string]any)["targetLabel"].(string))
	}
	out.add(nodePlugin(t), ofScrape...)
	// Prometheus' own, of what it scrapes and of the alerts that fire, whose labels are those of their queries and of their rules.
	out["up"] = sets.New(ofManager...)
	out["ALERTS"] = sets.New("alertname", "alertstate", "severity", "node", "driver")
	return out
}

// ofManager are labels that the Prometheus operator gives what a ServiceMonitor has it scrape.
var ofManager = []string{"job", "pod", "namespace", "instance"}

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
	out := map[string]string{}
	for _, panel := range dashboard(t).shown() {
		for _, target := range panel.Targets {
			out["panel "+panel.Title+" "+target.RefID] = strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")
		}
	}
	for _, variable := range dashboard(t).Templating.List {
		if asked := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(variable.Definition); asked != nil {
			out["variable "+variable.Name] = "count by (" + asked[2] + ") (" + asked[1] + ")"
		}
	}
	for _, spec := range alerts(t) {
		for _, rule := range spec["groups"].([]any)[0].(map[string]any)["rules"].([]any) {
			alert := rule.(map[string]any)
			out["alert "+alert["alert"].(string)] = alert["expr"].(string)
		}
	}
	return out
}

func TestEveryQueryAsksForMetricsAndLabelsThatExist(t *testing.T) {
	metrics := everything(t)
	asked := queries(t)
	if len(asked) < 60 {
		t.Fatalf("found %d queries only", len(asked))
	}
	for where, query := range asked {
		expression, err := promqlParser.ParseExpr(query)
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		if _, problems := metrics.labels(expression); len(problems) > 0 {
			t.Errorf("%s: %s", where, strings.Join(problems, "; "))
		}
	}
}

// A legend names labels that its query's results have.
func TestEveryLegendNamesLabelsOfItsResults(t *testing.T) {
	metrics := everything(t)
	for _, panel := range dashboard(t).shown() {
		for _, target := range panel.Targets {
			expression, err := promqlParser.ParseExpr(strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
			if err != nil {
				t.Errorf("%s: %v", panel.Title, err)
				continue
			}
			labels, _ := metrics.labels(expression)
			for _, named := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if !labels.Has(named[1]) {
					t.Errorf("the legend of %q names %s; the results have %q", panel.Title, named[1], slices.Sorted(maps.Keys(labels)))
				}
			}
		}
	}
}

func TestUnknownNamesAreFound(t *testing.T) {
	metrics := exported{"a": sets.New("x", "y"), "b": sets.New("y", "z")}
	for query, want := range map[string]int{
		`sum by (x) (a{y="1"})`:             0,
		`c`:                                 1,
		`a{z="1"}`:                          1,
		`sum by (z) (a)`:                    1,
		`sum by (x) (sum by (y) (a))`:       1,
		`sum by (y) (a or b)`:               0,
		`sum by (x) (a) / sum by (x) (b)`:   1,
		`sum by (x) (a{y="1"} or a{y="2"})`: 0,
		`sum by (x) (a or b)`:               1,
		`{__name__=~"a|b",y="1"}`:           0,
		`{__name__=~"a|c",x="1"}`:           1,
		`histogram_quantile(.5, sum by (x) (rate(a[1m])))`: 0,
	} {
		expression, err := promqlParser.ParseExpr(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, problems := metrics.labels(expression); len(problems) != want {
			t.Errorf("%s: found %q, want %d", query, problems, want)
		}
	}
}
