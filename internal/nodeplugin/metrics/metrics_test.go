package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/legacy"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != 200 {
		t.Fatalf("code %d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// none counts no leftovers.
func none() legacy.Counts { return legacy.Counts{} }

func TestScrapeTellsWhatHappened(t *testing.T) {
	m := New()
	m.CollectUsage(func(context.Context) (volume.Usage, error) {
		return volume.Usage{ReadOnly: 3, Writable: 2, Pins: 1, OrphanedData: 5, RemovedData: 7}, nil
	}, func() legacy.Counts { return legacy.Counts{Adopted: 4, Orphaned: 6, Removed: 8} })
	m.Operation("NodePublishVolume", "OK", time.Millisecond)
	for range 5 {
		m.PullQueued()
	}
	for range 3 {
		m.PullStarted()
	}
	m.PullEnded(pull.Ended{Result: "OK", Took: time.Second, Bytes: 1000, New: true})
	m.PullEnded(pull.Ended{Result: "OK", Took: time.Second, Bytes: 500}) // it was there before
	m.PullEnded(pull.Ended{Result: "Denied", Waited: 200 * time.Millisecond, Took: 800 * time.Millisecond})
	body := scrape(t, m)
	for _, want := range []string{
		`imagecsi_operations_total{code="OK",method="NodePublishVolume"} 1`,
		`imagecsi_operation_duration_seconds_bucket{code="OK",method="NodePublishVolume",le="0.002"} 1`,
		`imagecsi_pulls_total{result="Denied"} 1`,
		`imagecsi_pulls_in_flight 2`,
		`imagecsi_pulls_waiting 2`,
		`imagecsi_pull_bytes_total 1000`,
		`imagecsi_volumes{access="ReadOnly"} 3`,
		`imagecsi_volumes{access="ReadWrite"} 2`,
		`imagecsi_pins 1`,
		`imagecsi_pull_duration_seconds_bucket{result="Denied",le="0.5"} 0`,
		`imagecsi_pull_duration_seconds_bucket{result="Denied",le="1"} 1`,
		`imagecsi_adopted 4`,
		`imagecsi_orphans{kind="Data"} 5`,
		`imagecsi_orphans{kind="Leftover"} 6`,
		`imagecsi_orphans_removed_total{kind="Data"} 7`,
		`imagecsi_orphans_removed_total{kind="Leftover"} 8`,
		`go_goroutines`,
		`process_resident_memory_bytes`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the scrape lacks %s", want)
		}
	}
}

func TestAScrapeSurvivesAMissingRuntime(t *testing.T) {
	m := New()
	m.CollectUsage(func(context.Context) (volume.Usage, error) { return volume.Usage{}, errors.New("no runtime") }, none)
	body := scrape(t, m)
	if strings.Contains(body, "imagecsi_pins") || !strings.Contains(body, "imagecsi_pulls_in_flight 0") {
		t.Errorf("scrape: %s", body)
	}
}

func TestManyScrapesCostOneLook(t *testing.T) {
	m, looks := New(), 0
	m.CollectUsage(func(context.Context) (volume.Usage, error) {
		looks++
		return volume.Usage{Pins: 1}, nil
	}, none)
	for range 50 {
		if !strings.Contains(scrape(t, m), "imagecsi_pins 1") {
			t.Error("a scrape lacks the pins")
		}
	}
	if looks > 2 {
		t.Errorf("fifty scrapes in a moment looked %d times", looks)
	}
}
