package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// promtool runs the pinned one, built without the discovery of scrape targets in every cloud.
func promtool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	pinned, err := filepath.Abs("../../hack/tools/promtool/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "go", append([]string{"tool", "-modfile=" + pinned, "promtool"}, args...)...)
	command.Env = append(os.Environ(), "GOFLAGS=-tags=remove_all_sd", "CGO_ENABLED=0", "GOWORK=off")
	out, err := command.CombinedOutput()
	return string(out), err
}

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

func TestPromtoolAcceptsTheAlerts(t *testing.T) {
	for name, spec := range alerts(t) {
		rules := write(t, filepath.Join(t.TempDir(), "rules.yaml"), spec)
		if out, err := promtool(t, "check", "rules", "--lint=all", "--lint-fatal", rules); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestEveryAlertFiresInItsCaseAndInNoOther(t *testing.T) {
	for name, spec := range alerts(t) {
		t.Run(name, func(t *testing.T) { play(t, name, spec) })
	}
}

// play has promtool play the cases of some alerts, each of which has to fire in one.
func play(t *testing.T, name string, spec map[string]any) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules.yaml"), spec)
	cases, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range spec["groups"].([]any)[0].(map[string]any)["rules"].([]any) {
		if alert := rule.(map[string]any)["alert"].(string); !strings.Contains(string(cases), `alertname="`+alert+`",alertstate="firing"`) {
			t.Errorf("%s fires in no case of testdata/%s", alert, name)
		}
	}
	played := filepath.Join(dir, name)
	if err := os.WriteFile(played, cases, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := promtool(t, "test", "rules", played); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
