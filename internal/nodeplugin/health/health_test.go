package health

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestReadinessSaysEverythingThatIsMissing(t *testing.T) {
	ok := CheckFunc(func(context.Context) error { return nil })
	bad := func(text string) Check {
		return CheckFunc(func(context.Context) error { return errors.New(text) })
	}
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics here") })
	tests := []struct {
		name   string
		checks Checks
		path   string
		code   int
		body   []string
	}{
		{"ready", Checks{ok, ok}, "/readyz", 200, []string{"ok"}},
		{"two missing", Checks{bad("no runtime"), ok, bad("no kubelet")}, "/readyz", 503, []string{"no runtime", "no kubelet"}},
		{"alive though not ready", Checks{bad("no runtime")}, "/healthz", 200, []string{"ok"}},
		{"metrics", nil, "/metrics", 200, []string{"metrics here"}},
		{"unknown path", nil, "/debug/pprof/", 404, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := NewServer("", tt.checks, metrics)
			answer := httptest.NewRecorder()
			server.Handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, tt.path, nil))
			if answer.Code != tt.code {
				t.Errorf("code %d, want %d", answer.Code, tt.code)
			}
			for _, want := range tt.body {
				if !strings.Contains(answer.Body.String(), want) {
					t.Errorf("%q is not in %q", want, answer.Body.String())
				}
			}
		})
	}
}

func TestManyProbesAskTheRuntimeOnce(t *testing.T) {
	asked := 0
	server := NewServer("", CheckFunc(func(context.Context) error {
		asked++
		return errors.New("no runtime")
	}), http.NotFoundHandler())
	for range 100 {
		answer := httptest.NewRecorder()
		server.Handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if answer.Code != http.StatusServiceUnavailable {
			t.Errorf("code %d", answer.Code)
		}
	}
	if asked > 20 {
		t.Errorf("a hundred probes in a moment asked %d times", asked)
	}
}
