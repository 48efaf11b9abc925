package monitoring

import (
	"cmp"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/rules"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// rendered is an object of an optional kind, as the operator applies it for the driver d.
func rendered(t *testing.T, kind render.OptionalKind) map[string]any {
	t.Helper()
	objects := render.Render(render.Input{
		Driver: &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "d"}}, Kinds: []render.OptionalKind{kind},
	}).Apply
	object := objects[len(objects)-1].(*unstructured.Unstructured)
	if object.GetKind() != kind.Kind {
		t.Fatalf("rendered no %s", kind.Kind)
	}
	return object.Object["spec"].(map[string]any)
}

func write(t *testing.T, path string, content any) string {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// alerts are the specs of PrometheusRules, by the file of their cases: a driver's, and those about the operator.
func alerts(t *testing.T) map[string]map[string]any {
	t.Helper()
	text, err := os.ReadFile("../../config/monitoring/operator_alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var operators struct{ Spec map[string]any }
	if err := yaml.Unmarshal(text, &operators); err != nil {
		t.Fatal(err)
	}
	return map[string]map[string]any{"alerts.yaml": rendered(t, render.PrometheusRule()), "operator_alerts.yaml": operators.Spec}
}

func TestPrometheusReadsTheAlerts(t *testing.T) {
	for name, spec := range alerts(t) {
		text, err := yaml.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, promqlParser, slog.New(slog.DiscardHandler))
		if len(errs) > 0 {
			t.Fatalf("%s: %v", name, errs)
		}
		known := map[string]bool{}
		for _, group := range groups.Groups {
			for _, rule := range group.Rules {
				if same := cmp.Or(rule.Alert, rule.Record) + rules.FromMaps(group.Labels, rule.Labels).String(); known[same] {
					t.Errorf("%s has two rules %s with the same labels", name, cmp.Or(rule.Alert, rule.Record))
				} else {
					known[same] = true
				}
			}
		}
	}
}

func TestEveryAlertFiresInItsCaseAndInNoOther(t *testing.T) {
	for name, spec := range alerts(t) {
		t.Run(name, func(t *testing.T) { play(t, name, spec) })
	}
}

// play plays the cases of some alerts, each of which has to fire in one.
func play(t *testing.T, name string, spec map[string]any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range spec["groups"].([]any)[0].(map[string]any)["rules"].([]any) {
		if alert := rule.(map[string]any)["alert"].(string); !strings.Contains(string(text), `alertname="`+alert+`",alertstate="firing"`) {
			t.Errorf("%s fires in no case of testdata/%s", alert, name)
		}
	}
	var played cases
	if err := yaml.UnmarshalStrict(text, &played); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var ruleFiles []string
	for _, file := range played.RuleFiles {
		ruleFiles = append(ruleFiles, write(t, filepath.Join(dir, file), spec))
	}
	for _, c := range played.Tests {
		t.Run(c.Name, func(t *testing.T) { c.play(t, played.EvaluationInterval.Duration, ruleFiles) })
	}
}
