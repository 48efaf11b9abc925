package legacymetrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/metrics"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

// added are the node plugin's metrics with those of the legacy driver.
func added() (*metrics.Metrics, *Metrics) {
	m, w := metrics.New(), New()
	m.Register(w)
	return m, w
}

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("code %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

func TestTheMetricsOfTheLegacyDriverAreThereOnlyWhenAskedFor(t *testing.T) {
	m := metrics.New()
	var off *Metrics
	observer := off.Observer(m)
	observer.PullQueued()
	observer.PullStarted()
	observer.PullEnded(pull.Ended{Image: "r.example/a:1", Result: "OK", Took: time.Second, Bytes: 5})
	if body := scrape(t, m); strings.Contains(body, "warm_metal_") {
		t.Errorf("scrape: %s", body)
	}
}

func TestTheMetricsOfTheLegacyDriverHaveItsNamesLabelsAndMeaning(t *testing.T) {
	m, w := added()
	observer := w.Observer(m)
	end := func(e pull.Ended) {
		observer.PullQueued()
		observer.PullStarted()
		observer.PullEnded(e)
	}
	end(pull.Ended{Image: "r.example/a:1", Result: "OK", Took: 3 * time.Second, Bytes: 5})
	end(pull.Ended{Image: "r.example/b:1", Result: "Denied", Took: 11 * time.Minute})
	end(pull.Ended{Image: "r.example/c:1", Result: "Unknown", Took: time.Second, TimedOut: true})
	end(pull.Ended{Image: "r.example/c:1", Result: "RuntimeDown", Took: 2 * time.Second, Stopped: true})
	end(pull.Ended{Image: "r.example/d:1", Result: "OK", Took: time.Second})
	for operation, times := range map[string]int{"pull-async-wait": 1, "mount": 2, "unmount": 1} {
		for range times {
			w.failed(operation)
		}
	}
	body := scrape(t, m)
	for _, want := range []string{
		"# TYPE warm_metal_pull_duration_seconds gauge",
		`warm_metal_pull_duration_seconds{error="false",image="r.example/a:1"} 3`,
		`warm_metal_pull_duration_seconds{error="true",image="r.example/b:1"} 660`,
		`warm_metal_pull_duration_seconds{error="true",image="r.example/c:1"} 2`,
		"# TYPE warm_metal_pull_duration_seconds_hist histogram",
		`warm_metal_pull_duration_seconds_hist_bucket{error="false",le="1"} 1`,
		`warm_metal_pull_duration_seconds_hist_bucket{error="false",le="5"} 2`,
		`warm_metal_pull_duration_seconds_hist_bucket{error="true",le="600"} 2`,
		`warm_metal_pull_duration_seconds_hist_bucket{error="true",le="900"} 3`,
		"# TYPE warm_metal_pull_size_bytes gauge",
		`warm_metal_pull_size_bytes{image="r.example/a:1"} 5`,
		"# TYPE warm_metal_operation_errors_total counter",
		`warm_metal_operation_errors_total{operation_type="pull-async-error"} 1`,
		`warm_metal_operation_errors_total{operation_type="pull-async-timeout"} 1`,
		`warm_metal_operation_errors_total{operation_type="pull-async-shutdown"} 1`,
		`warm_metal_operation_errors_total{operation_type="pull-async-wait"} 1`,
		`warm_metal_operation_errors_total{operation_type="pull-error"} 3`,
		`warm_metal_operation_errors_total{operation_type="size-error"} 1`,
		`warm_metal_operation_errors_total{operation_type="mount"} 2`,
		`warm_metal_operation_errors_total{operation_type="unmount"} 1`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("the scrape lacks %s", want)
		}
	}
	if strings.Contains(body, `warm_metal_pull_size_bytes{image="r.example/d:1"}`) {
		t.Error("a size that is not known is served")
	}
}

func TestThePullsOfSingleImagesAreForgottenAfterAMinuteAndNoSooner(t *testing.T) {
	m, w := added()
	start := time.Now()
	at := func(d time.Duration) string {
		w.last.now = func() time.Time { return start.Add(d) }
		return scrape(t, m)
	}
	const series = `warm_metal_pull_duration_seconds{error="false",image="r.example/a:1"}`
	w.pullEnded(pull.Ended{Image: "r.example/a:1", Result: "OK", Took: time.Second, Bytes: 5}, start)
	w.pullEnded(pull.Ended{Image: "r.example/a:1", Result: "OK", Took: 2 * time.Second, Bytes: 5}, start.Add(30*time.Second))
	if body := at(89 * time.Second); !strings.Contains(body, series+" 2\n") {
		t.Error("the later pull went with the earlier one")
	}
	if body := at(90 * time.Second); strings.Contains(body, series) || strings.Contains(body, "warm_metal_pull_size_bytes{") {
		t.Error("a pull is served for longer than a minute")
	}
	if len(w.last.pulls) != 0 {
		t.Error("a pull is remembered for ever")
	}
}
