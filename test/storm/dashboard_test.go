package storm_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/dashboard"
	"github.com/image-csi/image-csi-operator/test/internal/installation"
)

// scrape is an operator with the labels that it has by config/monitoring.
func scrape(operator *installation.Program, pod string) dashboard.Target {
	return dashboard.Target{
		Labels: map[string]string{"job": "image-csi-operator-metrics", "pod": pod},
		Scrape: func(ctx context.Context) ([]byte, error) { return metricsOf(ctx, operator.Address) },
	}
}

func metricsOf(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	return io.ReadAll(answer.Body)
}

// shows asks what the dashboard's panels about drivers and the operator ask, of what real operators said.
func shows(t *testing.T, recorder *dashboard.Recorder) {
	t.Helper()
	if asked := recorder.Shows(t, root, dashboard.IsOfOperator, nil); asked < 18 {
		t.Errorf("asked %d queries only", asked)
	}
	recorder.Draw(t, root, "dashboard.svg", "Drivers", "The operator")
}
