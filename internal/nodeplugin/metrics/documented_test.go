package metrics

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy/legacymetrics"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/server"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

var update = flag.Bool("update", false, "rewrite the table in docs/metrics.md")

// failing are volumes that cannot be unpublished.
type failing struct{ server.Volumes }

func (failing) Unpublish(context.Context, string, string) error { return errors.New("no") }

// everything is metrics of which each one has a value.
func everything() *Metrics {
	m := New()
	old := legacymetrics.New()
	m.Register(old)
	m.CollectUsage(func(context.Context) (volume.Usage, error) { return volume.Usage{}, nil }, none)
	m.Operation("NodePublishVolume", "OK", time.Second)
	m.PullQueued()
	m.PullStarted()
	old.Observer(m).PullEnded(pull.Ended{Image: "r.example/a:1", Result: "OK", Took: time.Second, Bytes: 1})
	_ = old.Volumes(failing{}).Unpublish(context.Background(), "", "")
	return m
}

func TestEveryMetricIsDocumentedAndNoOther(t *testing.T) {
	families, err := everything().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	table := "| metric | type | labels | meaning |\n|---|---|---|---|\n"
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "go_") || strings.HasPrefix(f.GetName(), "process_") {
			continue
		}
		table += fmt.Sprintf("| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), labelsOf(f), f.GetHelp())
	}
	const file = "../../../docs/metrics.md"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text, written, _ := strings.Cut(string(content), "-update -->\n\n")
	if *update {
		if err := os.WriteFile(file, []byte(text+"-update -->\n\n"+table), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if written != table {
		t.Errorf("docs/metrics.md does not list these metrics; run this test with -update. Want:\n%s\ngot:\n%s", table, written)
	}
}

func labelsOf(f *dto.MetricFamily) string {
	var labels []string
	for _, label := range f.GetMetric()[0].GetLabel() {
		labels = append(labels, "`"+label.GetName()+"`")
	}
	slices.Sort(labels)
	return strings.Join(labels, ", ")
}

func TestEveryMetricHasAnOwnersNameAndAUnit(t *testing.T) {
	families, err := everything().registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		name := f.GetName()
		if !slices.ContainsFunc([]string{"go_", "process_", "imagecsi_", "warm_metal_"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			t.Errorf("%s begins with no known prefix", name)
		}
		if counter := f.GetType() == dto.MetricType_COUNTER; strings.HasPrefix(name, "imagecsi_") && counter != strings.HasSuffix(name, "_total") {
			t.Errorf("%s: a counter's name ends with _total, and no other's", name)
		}
	}
}
